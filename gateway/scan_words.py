"""What a scan's findings are called, what they mean and what helps, in the station's languages."""

from __future__ import annotations

from gateway.doctor_finding import one_line
from gateway.scan_result import Doing, Found, Problem

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
            "two probes on address {about}? Connect one alone. Still so: 120 ohm at the ends, supply, cable",
        ),
        "breaks off": (
            "answers of address {about} begin well and break off: {seen}",
            "supply strong enough while it speaks, at the probe? A loose wire? Try another adapter",
        ),
        "late": (
            "address {about} answers only after {seen}",
            "a slow serial server or radio bridge between? It cannot be read so: make that faster",
        ),
        "stranger": (
            "address {about} is asked, and {seen} answers",
            "a second master, a gateway that renumbers, or a broken instrument: connect this one alone",
        ),
        "refuses": (
            "address {about} answers, and refuses everything",
            "busy, or in another mode (calibration, start-up)? Switch its supply off and on, then scan again",
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
        "closed": (
            "cannot be opened: {seen}",
            'is the name right, is it plugged in? no right: sudo adduser "$USER" dialout, then log in again',
        ),
        "lost": ("the port disappeared during the scan", "is the plug tight? dmesg | tail says more"),
        "sdi12": (
            "an SDI-12 sensor answers: {seen}",
            "this program finds SDI-12 sensors but does not read them yet; has it an RS-485 (Modbus) output?",
        ),
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
            "адрес {about} у двух датчиков? Подключите один. Всё равно: 120 Ом на концах, питание, кабель",
        ),
        "breaks off": (
            "ответы адреса {about} хорошо начинаются и обрываются: {seen}",
            "хватает ли датчику питания, когда он говорит? Плохой контакт? Попробуйте другой адаптер",
        ),
        "late": (
            "адрес {about} отвечает только через {seen}",
            "между ними медленный сервер портов или радиомост? Так его не прочесть: ускорьте связь",
        ),
        "stranger": (
            "спрашивают адрес {about}, а отвечает {seen}",
            "второй ведущий, шлюз с другими номерами или неисправный прибор: подключите его одного",
        ),
        "refuses": (
            "адрес {about} отвечает и во всём отказывает",
            "занят или в другом режиме (калибровка, запуск)? Выключите и включите питание и повторите поиск",
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
        "closed": (
            "не открывается: {seen}",
            'верно ли имя, подключено ли? нет прав: sudo adduser "$USER" dialout и войдите заново',
        ),
        "lost": (
            "порт пропал во время сканирования",
            "плотно ли вставлен разъём? Подробнее: dmesg | tail",
        ),
        "sdi12": (
            "отвечает датчик SDI-12: {seen}",
            "программа находит датчики SDI-12, но пока не читает их; нет ли у него выхода RS-485 (Modbus)?",
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
            "эки датчик {about} дарегиндеби? Бирин гана туташтырыңыз. Дагы эле: 120 Ом, ток, кабель",
        ),
        "breaks off": (
            "{about} дарегинин жооптору жакшы башталып, үзүлөт: {seen}",
            "датчик сүйлөгөндө ага ток жетеби? Начар байланган зым жокпу? Башка адаптер сынаңыз",
        ),
        "late": (
            "{about} дареги {seen} өткөндө гана жооп берет",
            "арада жай порт сервери же радио көпүрө барбы? Мындай окулбайт: тездетиңиз же жакындатыңыз",
        ),
        "stranger": (
            "{about} дареги суралат, {seen} жооп берет",
            "экинчи башкаруучу, номерлерди өзгөрткөн шлюз же бузук аспап: аны жалгыз туташтырыңыз",
        ),
        "refuses": (
            "{about} дареги жооп берет, бирок баарынан баш тартат",
            "бош эмес же башка абалда (калибрлөө, ишке кирүү)? Тогун өчүрүп күйгүзүп, кайра издеңиз",
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
        "closed": (
            "ачылбайт: {seen}",
            'аты туурабы, сайылганбы? укук жок болсо: sudo adduser "$USER" dialout, анан кайра кириңиз',
        ),
        "lost": ("издөө учурунда порт жоголду", "сайгыч бекем турабы? dmesg | tail көбүрөөк айтат"),
        "sdi12": (
            "SDI-12 датчиги жооп берет: {seen}",
            "программа SDI-12 датчиктерин табат, азырынча окубайт; анын RS-485 (Modbus) чыгышы жокпу?",
        ),
        "unknown": (
            "{about} дареги жооп берет, бирок белгилүү моделдерге окшобойт",
            "ага профиль жазса болот: drivers/README.md",
        ),
    },
}


DOING: dict[str, dict[str, str]] = {
    "en": {
        "waiting": "waiting",
        "listen": "listening at {line}",
        "ask": "asking for {about} at {line}",
        "address": "asking address {about} at {line}",
        "sdi12": "asking SDI-12 address {about} at {line}",
        "name": "naming address {about}",
        "found": "found {about}",
        "done": "done",
    },
    "ru": {
        "waiting": "ждёт",
        "listen": "слушает на {line}",
        "ask": "спрашивает {about} на {line}",
        "address": "спрашивает адрес {about} на {line}",
        "sdi12": "спрашивает адрес SDI-12 {about} на {line}",
        "name": "узнаёт, кто на адресе {about}",
        "found": "найден {about}",
        "done": "готово",
    },
    "ky": {
        "waiting": "күтүп турат",
        "listen": "{line} менен угуп жатат",
        "ask": "{line} менен {about} суралып жатат",
        "address": "{line} менен {about} дареги суралып жатат",
        "sdi12": "{line} менен SDI-12 {about} дареги суралып жатат",
        "name": "{about} дарегинде ким экени аныкталып жатат",
        "found": "{about} табылды",
        "done": "бүттү",
    },
}
"""What a port's scan is at."""

LINES: dict[str, dict[str, str]] = {
    "en": {
        "port": "{port}  ({state}, {asked} questions, {seconds} s)",
        "found": "found",
        "modem": "a modem",
        "silent": "silent",
        "trouble": "trouble",
        "held": "in use",
        "closed": "not open",
        "broken off": "broken off",
        "address": "address {address}",
        "no driver": "an instrument that no driver knows",
        "alike": "or {others}: their registers look alike; compare the label",
        "or": " or ",
        "no port": "no serial port is plugged in; name one: suuaba scan --port /dev/…",
        "sum": "{count} instruments on {ports} ports in {seconds} s",
        "broken": "{sum}; broken off",
        "left": "{seconds} s left",
    },
    "ru": {
        "port": "{port}  ({state}, вопросов: {asked}, {seconds} с)",
        "found": "найдено",
        "modem": "модем",
        "silent": "молчит",
        "trouble": "неполадка",
        "held": "занят",
        "closed": "не открыт",
        "broken off": "прервано",
        "address": "адрес {address}",
        "no driver": "прибор, которого не знает ни один драйвер",
        "alike": "или {others}: их регистры похожи; сравните с этикеткой",
        "or": " или ",
        "no port": "последовательный порт не подключён; назовите его: suuaba scan --port /dev/…",
        "sum": "приборов: {count}, портов: {ports}, за {seconds} с",
        "broken": "{sum}; прервано",
        "left": "осталось {seconds} с",
    },
    "ky": {
        "port": "{port}  ({state}, суроолор: {asked}, {seconds} с)",
        "found": "табылды",
        "modem": "модем",
        "silent": "унчукпайт",
        "trouble": "бузук",
        "held": "бош эмес",
        "closed": "ачылган жок",
        "broken off": "токтотулду",
        "address": "дареги {address}",
        "no driver": "бир да драйвер билбеген аспап",
        "alike": "же {others}: регистрлери окшош; энбелгисин караңыз",
        "or": " же ",
        "no port": "сериялык порт сайылган эмес; атын айтыңыз: suuaba scan --port /dev/…",
        "sum": "{ports} порттон {count} аспап, {seconds} с",
        "broken": "{sum}; токтотулду",
        "left": "{seconds} с калды",
    },
}
"""The lines of a report in plain text."""


def line(code: str, language: str = "en", **given: object) -> str:
    """One of `LINES`, filled in."""
    return LINES.get(language, LINES["en"])[code].format(**given)


def doing(at: Doing, language: str = "en") -> str:
    """What a port's scan is at, in words."""
    return DOING.get(language, DOING["en"])[at.code].format(about=at.about, line=at.line)


def told(problem: Problem, language: str = "en") -> Words:
    """What is seen and what helps, in words."""
    what, helps = TEXTS.get(language, TEXTS["en"])[problem.code]
    filled = {"about": problem.about, "seen": problem.seen or "-", "port": problem.port}
    return what.format(**filled), helps.format(**filled)


def shown(found: Found, language: str = "en") -> str:
    """An instrument in one line."""
    address = "" if found.address is None else f", {line('address', language, address=found.address)}"
    name = found.model or found.title or line("no driver", language)
    serial = found.identity.get("serial") or found.identity.get("line") or found.identity.get("firmware", "")
    parts = [f"{name}{address}, {found.baudrate} {found.format}", *([one_line(serial, 60)] if serial else [])]
    values = ", ".join(f"{key} {value:.4g}" for key, value in list(found.values.items())[:4])
    if values:
        parts.append(values)
    if found.others:
        parts.append(line("alike", language, others=line("or", language).join(found.others)))
    return "; ".join(parts)
