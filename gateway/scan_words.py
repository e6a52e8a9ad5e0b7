"""What a scan's findings are called, what they mean and what helps, in the station's languages."""

from __future__ import annotations

from gateway.scan_result import Problem

Words = tuple[str, str]
"""What is seen, what helps. {about} and {seen} are filled in."""

TEXTS: dict[str, dict[str, Words]] = {
    "en": {
        "nothing": (
            "nothing at all came back ({seen})",
            "is the instrument powered? Swap A and B. Is it on this port?",
        ),
        "swapped": (
            "only a single 00 or FF came back each time ({seen})",
            "A and B are most likely swapped: exchange the two wires at one end",
        ),
        "garbage": (
            "rubbish at every rate: {seen}",
            "a stream at a rate we did not try, or a line without bias resistors (680 ohm: A to 5 V, B to 0)",
        ),
        "no bias": (
            "stray bytes before {seen}",
            "the line floats between frames: add bias resistors, once on the bus; the readings are good",
        ),
        "two on one address": (
            "answers of address {about} come garbled: {seen}",
            "two probes have address {about}: connect one alone, and give it another address",
        ),
        "echo": (
            "this adapter hears itself ({seen})",
            "write echo = true at this port, or switch its echo off",
        ),
        "sometimes": (
            "address {about} answers only sometimes ({seen})",
            "120 ohm at both ends of the bus? Supply strong enough, at the probe? Shorter stubs, other cable",
        ),
        "modem": ("a modem is on this port", 'write modem = "{port}" under [sms]'),
        "master": (
            "another master asks on this bus: {seen}",
            "nothing was asked here: end the other program or device, then scan again",
        ),
        "held": ("in use by {about}", "end that program, or scan while it does not run"),
        "closed": ("cannot be opened: {seen}", 'sudo, or: sudo adduser "$USER" dialout, then log in again'),
        "lost": ("the port disappeared during the scan", "is the plug tight? dmesg | tail says more"),
        "unknown": (
            "address {about} answers, but like no model that is known",
            "a profile for it can be written: drivers/README.md",
        ),
    },
    "ru": {
        "nothing": (
            "не пришло совсем ничего ({seen})",
            "есть ли питание прибора? Поменяйте A и B местами. Тот ли это порт?",
        ),
        "swapped": (
            "каждый раз приходит только один байт 00 или FF ({seen})",
            "скорее всего перепутаны A и B: поменяйте два провода на одном конце",
        ),
        "garbage": (
            "мусор на всех скоростях: {seen}",
            "поток на другой скорости или линия без подтяжки (680 Ом: A к +5 В, B к земле)",
        ),
        "no bias": (
            "лишние байты перед ответом: {seen}",
            "линия между кадрами «висит»: поставьте подтяжку, одну на шину; показания верны",
        ),
        "two on one address": (
            "ответы адреса {about} приходят искажёнными: {seen}",
            "у двух датчиков адрес {about}: подключите один и дайте ему другой адрес",
        ),
        "echo": (
            "адаптер слышит сам себя ({seen})",
            "напишите echo = true для этого порта или отключите эхо адаптера",
        ),
        "sometimes": (
            "адрес {about} отвечает не всегда ({seen})",
            "120 Ом на обоих концах шины? Хватает ли питания у датчика? Короче отводы, другой кабель",
        ),
        "modem": ("на этом порту модем", 'напишите modem = "{port}" в [sms]'),
        "master": (
            "на шине спрашивает другой ведущий: {seen}",
            "здесь ничего не спрашивали: остановите другую программу или прибор и повторите",
        ),
        "held": ("порт занят: {about}", "завершите эту программу или сканируйте, когда она не работает"),
        "closed": ("не открывается: {seen}", 'sudo, или: sudo adduser "$USER" dialout и войдите заново'),
        "lost": (
            "порт пропал во время сканирования",
            "плотно ли вставлен разъём? Подробнее: dmesg | tail",
        ),
        "unknown": (
            "адрес {about} отвечает, но ни на одну известную модель не похож",
            "для него можно написать профиль: drivers/README.md",
        ),
    },
    "ky": {
        "nothing": (
            "эч нерсе келген жок ({seen})",
            "аспапта ток барбы? A менен B зымдарын алмаштырыңыз. Ушул портпу?",
        ),
        "swapped": (
            "ар бир жолу бир гана 00 же FF келет ({seen})",
            "A менен B алмашып калган окшойт: бир учунда эки зымды алмаштырыңыз",
        ),
        "garbage": (
            "бардык ылдамдыкта таштанды: {seen}",
            "биз сынабаган ылдамдыктагы агым же тартма резисторсуз линия (680 Ом: A +5 В, B жерге)",
        ),
        "no bias": (
            "жооптун алдында ашыкча байттар: {seen}",
            "линия кадрлардын ортосунда асылып турат: шинага бир жуп резистор коюңуз; көрсөткүчтөр туура",
        ),
        "two on one address": (
            "{about} дарегинин жооптору бузулуп келет: {seen}",
            "эки датчиктин дареги {about}: бирин гана туташтырып, ага башка дарек бериңиз",
        ),
        "echo": (
            "адаптер өзүн өзү угат ({seen})",
            "бул портко echo = true деп жазыңыз же адаптердин жаңырыгын өчүрүңүз",
        ),
        "sometimes": (
            "{about} дареги кээде гана жооп берет ({seen})",
            "шинанын эки учунда 120 Ом барбы? Датчикке ток жетеби? Кыска бутак, башка кабель",
        ),
        "modem": ("бул портто модем", '[sms] бөлүгүнө modem = "{port}" деп жазыңыз'),
        "master": (
            "шинада башка башкаруучу сурап жатат: {seen}",
            "бул жерде эч нерсе сураган жокпуз: башка программаны же аспапты токтотуп, кайталаңыз",
        ),
        "held": ("порт бош эмес: {about}", "ал программаны жабыңыз же ал иштебегенде издеңиз"),
        "closed": ("ачылбайт: {seen}", 'sudo, же: sudo adduser "$USER" dialout, анан кайра кириңиз'),
        "lost": ("издөө учурунда порт жоголду", "сайгыч бекем турабы? dmesg | tail көбүрөөк айтат"),
        "unknown": (
            "{about} дареги жооп берет, бирок белгилүү моделдерге окшобойт",
            "ага профиль жазса болот: drivers/README.md",
        ),
    },
}


def told(problem: Problem, language: str = "en") -> Words:
    """What is seen and what helps, in words."""
    what, helps = TEXTS.get(language, TEXTS["en"])[problem.code]
    filled = {"about": problem.about, "seen": problem.seen or "-", "port": problem.port}
    return what.format(**filled), helps.format(**filled)
