"""What a guided calibration says, in Kyrgyz, Russian and English."""

from __future__ import annotations

LANGUAGES = ("ky", "ru", "en")

WORDS: dict[str, tuple[str, str, str]] = {
    "who": ("Ким калибрлейт?", "Кто калибрует?", "Who calibrates?"),
    "standards": (
        "Кайсы эталондор? (мисалы: 7.00 4.01 10.01)",
        "Какие эталоны? (например: 7.00 4.01 10.01)",
        "Which standards? (for instance: 7.00 4.01 10.01)",
    ),
    "found": (
        "1. Датчикти сууда калтырыңыз, азырынча тазалабаңыз.",
        "1. Оставьте датчик в воде, пока не чистите.",
        "1. Leave the sensor in the water, do not clean it yet.",
    ),
    "cleaned": (
        "2. Датчикти тазалап, кайра ошол эле сууга салыңыз.",
        "2. Почистите датчик и верните в ту же воду.",
        "2. Clean the sensor and put it back into the same water.",
    ),
    "check": (
        "Чайкап, {standard:g} эталонуна салыңыз. Азырынча эч нерсе өзгөрбөйт.",
        "Ополосните и поставьте в эталон {standard:g}. Пока ничего не меняется.",
        "Rinse it and put it into the standard {standard:g}. Nothing is changed yet.",
    ),
    "adjust": (
        "Чайкап, {standard:g} эталонуна салыңыз: азыр приборго жазылат.",
        "Ополосните и поставьте в эталон {standard:g}: сейчас будет записано в прибор.",
        "Rinse it and put it into the standard {standard:g}: now it is written into the instrument.",
    ),
    "left": (
        "{standard:g} эталонунда калтырыңыз: калибрлөөдөн кийин эмне көрсөтөт?",
        "Оставьте в эталоне {standard:g}: что он показывает после калибровки?",
        "Leave it in the standard {standard:g}: what does it say after the calibration?",
    ),
    "lot": ("Партия номери (болбосо бош)", "Номер партии (можно пусто)", "Lot (may be empty)"),
    "expires": (
        "Жарактуу мөөнөтү, ЖЖЖЖ-АА (болбосо бош)",
        "Годен до, ГГГГ-ММ (можно пусто)",
        "Good until, YYYY-MM (may be empty)",
    ),
    "temperature": (
        "Эталондун температурасы, °C (болбосо бош)",
        "Температура эталона, °C (можно пусто)",
        "Temperature of the standard, degC (may be empty)",
    ),
    "side": (
        "Ошол эле суудагы экинчи аспаптын көрсөтүүсү (болбосо бош)",
        "Показание второго прибора в той же воде (можно пусто)",
        "A second meter's reading in the same water (may be empty)",
    ),
    "waiting": ("турукташууда", "ждём устойчивости", "waiting for it to settle"),
    "stable": ("туруктуу", "устойчиво", "stable"),
    "take": (
        "Enter: алуу, s: өткөрүп жиберүү, q: токтотуу",
        "Enter: принять, s: пропустить, q: прервать",
        "Enter: take it, s: leave it out, q: stop",
    ),
    "unstable": (
        "Туруктуу эмес. Ошентсе да алабызбы? (y/n)",
        "Не устойчиво. Всё равно принять? (y/n)",
        "Not stable. Take it nevertheless? (y/n)",
    ),
    "keep": (
        "Ката аз: тууралоонун кереги жок. Баары бир туурайбызбы? (y/n)",
        "Ошибка мала: подстройка не нужна. Всё равно подстроить? (y/n)",
        "The error is small: no adjustment is needed. Adjust nevertheless? (y/n)",
    ),
    "adjust?": ("Тууралайлыбы? (y/n)", "Подстроить? (y/n)", "Adjust it? (y/n)"),
    "confirm": (
        "Приборго жазабызбы? (y/n)",
        "Записать в прибор? (y/n)",
        "Write it into the instrument? (y/n)",
    ),
    "photo": (
        "Сүрөттүн аты (болбосо бош)",
        "Имя фотографии (можно пусто)",
        "Name of the photo (may be empty)",
    ),
    "note": ("Эскертүү (болбосо бош)", "Заметка (можно пусто)", "Note (may be empty)"),
    "passed": ("Калибрленди, жарактуу", "Откалиброван, годен", "Calibrated, good"),
    "checked": (
        "Текшерилди, тууралоонун кереги жок",
        "Проверен, подстройка не нужна",
        "Checked, no adjustment needed",
    ),
    "failed": ("Жараксыз", "Не годен", "Not good"),
    "history": (
        "Акыркы баруудан берки маалымат жаңы версия катары оңдолду",
        "Данные с прошлого визита исправлены новой версией",
        "The data since the last visit were corrected as a new version",
    ),
}


def say(key: str, language: str, **values: object) -> str:
    """A text in a language; English where that is unknown."""
    index = LANGUAGES.index(language) if language in LANGUAGES else 2
    return WORDS[key][index].format(**values)
