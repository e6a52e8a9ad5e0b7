"""Who may do what by SMS: codes, locks, PINs, rations."""

from __future__ import annotations

from collections import Counter

from alerts import answers
from alerts.answers import LOCK_S, act, decide
from alerts.commands import parse
from alerts.memory import Now
from alerts.outbox import Outcome
from alerts.policy import Contact
from alerts.rules import Kind, Rule, Tier
from alerts.watch import Limits, Watch
from tests.command_desk import TEXTS, Desk, muddy


def test_the_code_acknowledges_and_says_so() -> None:
    desk = muddy()
    assert desk.says("duty", "ack 4711") == [
        "duty: kyia-1: thank you, noted: turb1 turbidity 80.0>50. No more reminders"
    ]
    assert desk.state("mud") == "active_acknowledged"
    assert desk.says("chief", "принято 4711") == ["chief: kyia-1: уже принято: turb1 мутность 80,0>50"]


def test_everything_of_an_answer_is_said_without_its_code() -> None:
    desk = muddy()
    answer, said = desk.hears("duty", "mute 4711 2h 4711 is my code")
    assert "4711" not in str(answer.detail() | {"why": ""})
    assert answer.minutes == 120
    assert [type(one).__name__ for one in said] == ["Overlaid", "Row"]


def test_a_code_of_an_earlier_occurrence_does_nothing() -> None:
    desk = muddy()
    desk.see("turb1", "turbidity", 20)
    desk.drain()
    assert (
        desk.says("duty", "ack 4711")[-1]
        == "duty: kyia-1: thank you, noted: turb1 turbidity 80.0>50. No more reminders"
    )
    desk.see("turb1", "turbidity", 90)
    desk.drain()
    assert desk.says("duty", "4711") == ["duty: kyia-1: it is over already"]
    assert desk.state("mud") == "active_unacknowledged"
    assert desk.says("duty", "4712")[0].startswith("duty: kyia-1: thank you")


def test_a_code_is_good_only_for_those_who_were_sent_it() -> None:
    desk = muddy()
    assert desk.says("lab", "4711") == ["lab: kyia-1: код туура эмес. Калган аракет: 2"]
    assert desk.state("mud") == "active_unacknowledged"
    assert "(4711)" in desk.says("lab", "list")[0], "who asks is sent it"
    desk.says("lab", "4711")
    assert desk.state("mud") == "active_acknowledged"
    assert desk.says("chief", "mute 4711")[0].startswith("chief: kyia-1:"), "was sent it in the beginning"
    assert desk.state("mud") == "shelved"


def test_a_code_ends_with_its_alarm() -> None:
    desk = muddy()
    desk.says("duty", "4711")
    desk.see("turb1", "turbidity", 20)
    desk.drain()
    for text in ("mute 4711 24h", "4711", "unmute 4711"):
        answer, _ = desk.hears("duty", text)
        assert (answer.result, answer.rules) == ("ok", ())
        desk.drain()
    assert desk.state("mud") == "normal"
    desk.see("turb1", "turbidity", 90)
    assert desk.drain(), "nothing was muted by the old code"


def test_an_alarm_that_is_over_is_not_muted_by_the_code_that_acknowledges_it() -> None:
    desk = muddy()
    desk.see("turb1", "turbidity", 20)
    desk.drain()
    assert desk.says("duty", "mute 4711") == ["duty: kyia-1: it is over already"]
    assert desk.state("mud") == "returned_unacknowledged"


def test_a_code_expires() -> None:
    desk = muddy()
    desk.ms += 25 * 3_600_000
    assert desk.says("duty", "4711") == ["duty: kyia-1: wrong code. Tries left: 2"]
    assert desk.state("mud") == "active_unacknowledged"


def test_three_wrong_codes_close_a_number_for_an_hour_and_its_owner_is_told() -> None:
    desk = muddy()
    assert desk.says("duty", "ack 1111") == ["duty: kyia-1: wrong code. Tries left: 2"]
    assert desk.says("duty", "mute 1112 2h") == ["duty: kyia-1: wrong code. Tries left: 1"]
    [told] = desk.says("duty", "1113")
    assert "three wrong codes came from your number" in told
    assert desk.says("duty", "ack 4711") == []  # the right one, but too late
    assert desk.state("mud") == "active_unacknowledged"
    assert desk.says("duty", "status") != []  # asking harms nobody
    assert desk.says("chief", "4711") != []  # others may go on
    desk.ms += int(LOCK_S * 1000)
    desk.see("ph1", "ph", 4)
    [alarm] = desk.drain()
    assert desk.says("duty", alarm[-4:])[0].startswith("duty: kyia-1: thank you")


def test_wrong_tries_are_forgotten_after_a_day_and_with_a_right_code() -> None:
    desk = muddy()
    for _ in range(4):
        assert desk.says("duty", "1111")[0].endswith("Tries left: 2")
        desk.ms += 86_400_000
    desk = muddy()
    for _ in range(4):
        assert desk.says("duty", "1111")[0].endswith("Tries left: 2")
        assert desk.says("duty", "1111")[0].endswith("Tries left: 1")
        desk.says("duty", "4711")


def test_each_lock_is_longer_than_the_one_before() -> None:
    """Who forges a number and tries on and on gets few: 15 on the first day, then three or six."""
    desk = muddy()
    tries, day_ms = [0, 0, 0], 86_400_000
    while desk.ms < 3 * day_ms:
        answer, _ = desk.hears("duty", "1111")
        tries[desk.ms // day_ms] += answer.result == "wrong"
        desk.ms += 600_000
    assert tries[0] <= 15
    assert max(tries[1:]) <= 6


def test_the_owner_of_a_locked_number_opens_it_again() -> None:
    """Who forges a number does not get what is sent to it, so a lock shuts nobody out."""
    desk = muddy()
    for _ in range(3):
        told = desk.says("duty", "1111")
    code = told[0].rpartition(" ")[2]
    assert len(code) == 8
    for guess in ("4711", code[:-1], f"9{code[1:]}", "", "99999999"):
        assert desk.hears("duty", f"ack {guess}")[0].result == "locked"
    assert desk.says("duty", f" {code}. ") == ["duty: kyia-1: your number is open again"]
    assert desk.says("duty", "ack 4711")[0].startswith("duty: kyia-1: thank you")
    assert desk.hears("duty", code)[0].result == "wrong"  # it was good once


def test_what_was_muted_and_is_over_can_be_unmuted_by_its_code() -> None:
    desk = muddy()
    for text in ("4711", "mute 4711"):
        desk.says("duty", text)
    desk.see("turb1", "turbidity", 20)
    assert desk.state("mud") == "shelved"
    desk.says("duty", "unmute 4711")
    assert desk.state("mud") == "normal"


def test_a_code_near_its_end_is_not_sent_again_and_no_two_are_alike() -> None:
    desk = muddy()
    desk.ms += 19 * 3_600_000
    assert desk.watch.mail.code(desk.watch.memory, (("mud", 1),), "duty", desk.now) == "4712"
    desk.watch.mail.random = lambda _: 3712
    assert desk.watch.mail.code(desk.watch.memory, (("acid", 1),), "duty", desk.now) == "4713"


def test_which_path_took_or_may_have_taken_a_message_is_remembered() -> None:
    desk = Desk()
    desk.see("turb1", "turbidity", 80)
    row = desk.watch.memory.outbox.next(desk.ms)
    assert row is not None

    def becomes(*outcomes: Outcome) -> str:
        for outcome in outcomes:
            desk.watch.outcome(row.id, outcome, desk.now)
        return desk.watch.memory.outbox.rows[row.id].path

    assert becomes(Outcome("sending", 1), Outcome("retry", 1, (17,), path="second")) == "second"
    assert becomes(Outcome("sending", 2), Outcome("retry", 2, path="sms")) == "second"
    assert becomes(Outcome("sending", 3), Outcome("unknown", 3, path="provider")) == "provider"


def test_the_more_codes_there_are_the_longer_they_are() -> None:
    rules = [
        Rule(f"r{i}", "s", Kind.ABOVE, f"q{i}", "", high=50, send=(Tier(("duty",)),)) for i in range(120)
    ]
    watch = Watch("k", rules, [Contact("duty", "+996555000001", "en")], TEXTS, limits=Limits(budget=10**6))
    watch.see_values("s", 0, {f"q{i}": (80.0, True) for i in range(120)}, Now(0, 1_763_883_600_000))
    lengths = Counter(len(code) for code in watch.memory.codes)
    assert lengths == {4: 9, 5: 81, 6: 30}
    for length, most in ((4, 9), (5, 90), (6, 500)):
        hit = sum(len(code) == length for code in watch.memory.codes) / (9 * 10 ** (length - 1))
        assert hit <= most / (9 * 10 ** (length - 1)) <= 0.001


def test_the_pin_is_good_for_everything_that_stands_but_only_its_owner_s() -> None:
    desk = muddy()
    desk.see("ph1", "ph", 4)
    desk.drain()
    assert desk.says("duty", "ack 8642") == ["duty: kyia-1: wrong code. Tries left: 2"]
    [said] = desk.says("chief", "ok 8642")
    assert said == "chief: kyia-1: принято: turb1 мутность 80,0>50; ph1 pH 4,0<5"
    assert {desk.state("mud"), desk.state("acid")} == {"active_acknowledged"}


def test_mute_has_an_end_an_owner_and_a_reason() -> None:
    desk = muddy()
    assert desk.says("chief", "тихо 4711 2ч чистим датчик") == [
        "chief: kyia-1: turb1 мутность 80,0>50 отключено до 09:40"
    ]
    overlay = desk.watch.memory.overlays["mud"]
    assert (overlay.by, overlay.why, overlay.kind) == ("chief", "чистим датчик", "shelved")
    assert overlay.until_ms == desk.ms + 7_200_000
    assert desk.state("mud") == "shelved"
    desk.see("turb1", "turbidity", 20)
    desk.see("turb1", "turbidity", 95)
    assert [text for text in desk.drain() if "95" in text] == []
    said = desk.says("chief", "включи 4711")
    assert said == ["chief: kyia-1: снова включено"]  # the code's occurrence is over
    assert desk.state("mud") == "shelved"
    assert desk.says("chief", "включи 8642")[-1] == "chief: kyia-1: turb1 мутность 95,0>50 снова включено"
    assert desk.state("mud") == "active_unacknowledged"


def test_list_and_status_in_each_language() -> None:
    desk = muddy()
    desk.see("ph1", "ph", 4)
    desk.drain()
    desk.says("duty", "4711")
    assert desk.says("duty", "list") == ["duty: kyia-1: ph1 pH 4.0<5 (4712); turb1 turbidity 80.0>50"]
    assert desk.says("lab", "тизме") == ["lab: kyia-1: ph1 pH 4,0<5 (4712); turb1 ылайлуулук 80,0>50"]
    [status] = desk.says("chief", "статус")
    counts = "тревог 2, без ответа 1, отключено 0, SMS 1 из 200"
    assert status == f"chief: kyia-1 07:40: {counts}. turb1 мутность 80,0; ph1 pH 4,0"
    quiet = Desk()
    assert quiet.says("lab", "тизме") == ["lab: kyia-1 07:40: эскертүү жок"]


def test_replies_are_rationed_and_the_command_counts_all_the_same() -> None:
    desk = Desk(replies=5)
    said = [text for _ in range(12) for text in desk.says("duty", "status")]
    assert len(said) == 5
    desk.see("turb1", "turbidity", 80)
    desk.drain()
    assert desk.says("duty", "4711") == []
    assert desk.state("mud") == "active_acknowledged"
    desk.ms += 86_400_000
    assert len(desk.says("duty", "status")) == 1


def test_forged_questions_cost_only_a_part_of_the_budget_and_alarms_still_come() -> None:
    desk = Desk(budget=40)
    said = []
    for _ in range(20):
        for _ in range(30):
            said += desk.says("duty", "status")
        desk.ms += 86_400_000
    assert len(said) == 10  # a quarter
    assert desk.watch.mail.spent(desk.watch.memory, "duty") == 10
    desk.see("turb1", "turbidity", 80)
    assert len(desk.drain()) == 2


def test_what_comes_to_nothing_is_no_news() -> None:
    desk = Desk(replies=5)
    kept = 0
    for text in ["status", "list", "ack", "hello"] * 100:
        answer = decide(desk.watch, "duty", parse(text), desk.now, f"k{kept}")
        if answers.is_news(desk.watch, answer, desk.now):
            kept += 1
            act(desk.watch, answer, desk.now)
    assert kept < 12
    for _ in range(3):
        desk.hears("duty", "1111")
    locked = decide(desk.watch, "duty", parse("4711"), desk.now, "l")
    assert (locked.result, answers.is_news(desk.watch, locked, desk.now)) == ("locked", False)


def test_two_machines_do_not_talk_to_each_other_for_ever() -> None:
    desk = Desk()
    said = [text for _ in range(50) for text in desk.says("duty", "I am driving and will call you back")]
    assert len(said) == 1
    assert "ACK 4711: noted" in said[0]


def test_a_message_that_is_read_twice_is_done_once() -> None:
    desk = muddy()
    answer = decide(desk.watch, "duty", parse("ack 1111"), desk.now, "same")
    assert act(desk.watch, answer, desk.now) != []
    assert act(desk.watch, answer, desk.now) == []
    assert len(desk.watch.memory.desk.tries["duty"]) == 1
