"""Where reward functions run: in a main thread, where alarms work, and in no way that could hold up a run for ever."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from mopd.config import RewardsConfig, load_config
from mopd.core.errors import ConfigError, VerifierError
from mopd.core.types import Group, Problem, Rollout
from mopd.judging import main_thread
from mopd.judging.choosing import make_judge
from mopd.judging.reward_functions import RewardFunctions
from mopd.problems import ProblemSet
from tests.builders import make_config

PROBLEM = Problem("p", ({"role": "user", "content": "21"},), "12", "none", columns={"level": 3})
PROBLEMS = ProblemSet((PROBLEM,), ())

USERS = '''
import ctypes, os, signal, sys, threading, time

calls = []

def accuracy_reward(completions, answer, **kwargs):
    """With an alarm of its own, as open-r1's has by way of math_verify."""
    def ring(number, frame):
        raise TimeoutError
    rewards = []
    for completion, right in zip(completions, answer):
        signal.signal(signal.SIGALRM, ring)
        signal.alarm(1)
        try:
            if completion[0]["content"] == "slow":
                time.sleep(30)
            rewards.append(float(completion[0]["content"] == right))
        except TimeoutError:
            rewards.append(None)
        finally:
            signal.alarm(0)
    return rewards

def leaves_an_alarm(completions):
    signal.alarm(1)
    return [1.0] * len(completions)

def pauses(completions):
    time.sleep(1.5)
    return [1.0] * len(completions)

def counts(completions, log_metric, log_extra, trainer_state):
    calls.append(1)
    log_metric("calls", len(calls))
    log_metric("pid", os.getpid())
    log_extra("seen", [object(), "x"][:len(completions)])
    return [float(trainer_state.global_step)] * len(completions)

def counts_too(completions, log_metric):
    log_metric("calls", len(calls))
    log_metric("pid", os.getpid())
    return [0.0] * len(completions)

def loops(completions):
    while True:
        pass

def sleeps(completions):
    time.sleep(1000)

def catches_all(completions):
    while True:
        try:
            time.sleep(1000)
        except BaseException:
            pass

def holds_the_lock(completions):
    ctypes.PyDLL(None).sleep(1000)

def starts_and_waits(completions):
    import subprocess
    subprocess.run(["sleep", "1000"])

def exits(completions):
    os._exit(3)

def is_killed(completions):
    os.kill(os.getpid(), signal.SIGSEGV)

def quits(completions):
    sys.exit(1)

def quotes(completions, answer):
    raise ValueError(f"cannot judge {answer[0]}")

def moves(completions):
    os.chdir("/")
    return [1.0] * len(completions)

def prints(completions):
    print("to standard output"); sys.stdin.read()
    return [1.0] * len(completions)

def lists(completions):
    return (x for x in completions)

def scaled(low, high=1.0):
    def scaled_reward(completions, **kwargs):
        return [high if completion[0]["content"] == "12" else low for completion in completions]
    return scaled_reward

class Scaled:
    def __init__(self, high):
        self.high = high

    def __call__(self, completions):
        return [self.high] * len(completions)

def gives_none(**kwargs):
    return None

async def later(completions):
    return [float(threading.current_thread() is not threading.main_thread())] * len(completions)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "users_process.py").write_text(USERS)
    yield tmp_path
    sys.modules.pop("users_process", None)


def groups_of(*texts):
    rollouts = tuple(Rollout(i, (1,), (True,), (0.0,), text, False) for i, text in enumerate(texts))
    return [Group(0, PROBLEM, (1,), rollouts)]


def judge_of(folder, *entries, **options):
    named = [f"users_process:{entry}" if isinstance(entry, str) else entry for entry in entries]
    settings = make_config().model_dump(mode="json")
    settings["rewards"] |= {"functions": named, "folder": str(folder), **options}
    return make_judge(type(make_config()).model_validate(settings), PROBLEMS)


def kinds(judged):
    return [verdict.kind for verdict in judged[0][0].verdicts]


def feedback(judged):
    return judged[0][0].verdicts[0].feedback


def passed(function, *texts, **options):
    return RewardFunctions([function], RewardsConfig(**options), 10)(groups_of(*(texts or ("12", "21"))), 0)


def users(folder):
    """The functions of the user's module, in this process."""
    space = {}
    exec(USERS, space)
    return space


# --- in a process of their own --------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_named_function_may_set_alarms(folder):
    judged = judge_of(folder, "accuracy_reward")(groups_of("12", "slow", "21"), 0)
    assert kinds(judged) == ["correct", "error", "wrong"]
    assert feedback(judge_of(folder, "accuracy_reward")(groups_of("slow"), 0)) == "No reward function gave a reward."


def test_named_functions_share_one_process_that_stays_and_is_not_this_one(folder):
    judge = judge_of(folder, "counts", "counts_too")
    for step in (1, 2):
        judged, metrics = judge(groups_of("12", "21"), step)
        assert (metrics["rewards/counts_calls"], metrics["rewards/counts_too_calls"]) == (step, step)
        assert metrics["rewards/counts_pid"] == metrics["rewards/counts_too_pid"] != os.getpid()
        assert [verdict.reward for verdict in judged[0].verdicts] == [step, step]
        assert judged[0].verdicts[1].details["seen"] == "x"


@pytest.mark.parametrize("name", ["loops", "sleeps", "catches_all", "holds_the_lock", "starts_and_waits"])
def test_whatever_a_named_function_hangs_in_it_is_given_up_and_the_next_call_is_sound(folder, name):
    judge = judge_of(folder, "counts_too", name, time_limit_s=2.0)
    judge(groups_of("12"), 1)  # starting the process takes its time
    began = time.monotonic()
    judged, metrics = judge(groups_of("12", "21"), 1)
    assert time.monotonic() - began < 30
    assert kinds((judged, metrics)) == ["error"] * 2
    assert feedback((judged, metrics)) == f"The reward function {name} ran over its time limit of 2 s"
    assert metrics["rewards/counts_too_error_count"] == 0.0  # in a process that was begun after the last one hung


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("exits", "ended its process with exit code 3"),
        ("is_killed", "ended its process by SIGSEGV"),
        ("quits", "raised SystemExit: 1"),
        ("quotes", "raised ValueError (its message is withheld"),
        ("lists", "returned no list, but an object of type generator"),
    ],
)
def test_whatever_a_named_function_does_is_an_error_of_the_call_alone(folder, name, says):
    judge = judge_of(folder, name, "counts_too")
    for _ in range(2):
        judged = judge(groups_of("12", "21"), 1)
        assert kinds(judged) == ["error"] * 2
        assert says in feedback(judged)
        assert judged[1]["rewards/counts_too_error_count"] == 0.0


def test_a_named_function_cannot_move_or_silence_the_run(folder, capfd):
    before = os.getcwd()
    assert kinds(judge_of(folder, "moves", "prints")(groups_of("12"), 0)) == ["correct"]
    assert os.getcwd() == before
    assert "to standard output" in capfd.readouterr().out


def test_an_alarm_that_a_function_leaves_behind_does_not_go_off_in_another(folder):
    assert kinds(judge_of(folder, "leaves_an_alarm", "pauses")(groups_of("12"), 0)) == ["correct"]


def test_async_functions_run_in_the_loop_of_this_process(folder):
    assert kinds(judge_of(folder, "later")(groups_of("12"), 0)) == ["correct"]


@pytest.mark.long
def test_the_process_ends_with_the_run(folder):
    code = f"""
        import os, sys
        sys.path[:0] = {[os.getcwd()]!r}
        from tests.integration.test_reward_processes import groups_of, judge_of
        _, metrics = judge_of({str(folder)!r}, "counts_too")(groups_of("12"), 0)
        print(int(metrics["rewards/counts_too_pid"]), flush=True)
        {{end}}
    """
    for end in ("pass", "os.kill(os.getpid(), 9)"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code).format(end=end)], capture_output=True, text=True, check=False
        )
        pid, deadline = int(done.stdout), time.monotonic() + 10
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not os.path.exists(f"/proc/{pid}")


# --- passed in Python -----------------------------------------------------------------------------------------------


def test_a_function_that_was_passed_may_set_alarms_and_is_the_object_that_was_passed(folder):
    function, seen = users(folder)["accuracy_reward"], []

    def own(completions, answer, **kwargs):
        seen.append(threading.current_thread() is threading.main_thread())
        return function(completions, answer)

    assert kinds(passed(own, "12", "slow", "21")) == ["correct", "error", "wrong"]
    assert seen == [True]


@pytest.mark.parametrize("name", ["loops", "sleeps", "starts_and_waits"])
def test_a_function_that_was_passed_is_interrupted_where_it_is_late(folder, name):
    began = time.monotonic()
    judged = passed(users(folder)[name], time_limit_s=0.3)
    assert time.monotonic() - began < 5
    assert (kinds(judged), "time limit of 0.3 s" in feedback(judged)) == (["error"] * 2, True)


def test_code_that_catches_everything_is_interrupted_until_it_ends(monkeypatch):
    monkeypatch.setattr(main_thread, "INTERRUPT_EVERY_S", 0.1)

    def catches(completions):
        for _ in range(5):
            try:
                time.sleep(100)
            except BaseException:
                continue
        return [1.0] * len(completions)

    assert kinds(passed(catches, time_limit_s=0.2)) == ["error"] * 2


@pytest.mark.long
def test_a_function_that_cannot_be_interrupted_ends_the_process_and_says_why(folder):
    code = f"""
        import sys
        sys.path[:0] = {[os.getcwd()]!r}
        from mopd.judging import main_thread
        from tests.integration.test_reward_processes import passed, users
        main_thread.INTERRUPT_EVERY_S, main_thread.STUBBORN_S = 0.1, 1.0
        passed(users(None)["catches_all"], time_limit_s=0.2)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be interrupted" in done.stderr
    assert "rewards.functions" in done.stderr


def test_what_a_passed_function_sets_of_alarms_and_handlers_is_gone_behind_it(folder):
    handler = signal.getsignal(signal.SIGALRM)
    assert kinds(passed(users(folder)["leaves_an_alarm"])) == ["correct"] * 2
    assert kinds(passed(users(folder)["accuracy_reward"])) == ["correct", "wrong"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_the_runs_and_no_error_of_the_function_that_catches_it(number):
    def ended(signum, frame):
        raise SystemExit(143)

    def catches(completions):
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
        try:
            time.sleep(20)
        except BaseException:
            return [1.0] * len(completions)

    handler = ended if number == signal.SIGTERM else signal.default_int_handler  # which pytest's workers take away
    before = signal.signal(number, handler)
    try:
        with pytest.raises(SystemExit if number == signal.SIGTERM else KeyboardInterrupt):
            passed(catches)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_in_another_thread_a_late_function_is_left_behind():
    found, release = [], threading.Event()

    def hangs(completions):
        release.wait(30)

    thread = threading.Thread(target=lambda: found.append(passed(hangs, time_limit_s=0.2)))
    thread.start()
    thread.join(10)
    release.set()
    assert kinds(found[0]) == ["error"] * 2


# --- factories ------------------------------------------------------------------------------------------------------


def test_a_factory_makes_a_function_of_its_args(folder):
    entry = {"function": "users_process:scaled", "args": {"low": -1.0}}
    judged, metrics = judge_of(folder, entry, {"function": "users_process:Scaled", "args": {"high": 0.5}})(
        groups_of("12", "21"), 0
    )
    assert [verdict.reward for verdict in judged[0].verdicts] == [1.5, -0.5]
    assert {"rewards/scaled_reward_mean", "rewards/Scaled_mean"} <= {*metrics}


def test_factories_stand_in_toml_beside_names(folder):
    (folder / "own.toml").write_text(
        '[problems]\nsource = "sort-digits"\n[rewards]\nfunctions = ["users_process:counts_too", '
        '{ function = "users_process:scaled", args = { low = 0.25, high = 2.0 } }]\nweights = [1, 0.5]\n'
    )
    config = load_config(folder / "own.toml")
    judged, _ = make_judge(config, PROBLEMS)(groups_of("12", "21"), 0)
    assert [verdict.reward for verdict in judged[0].verdicts] == [1.0, 0.125]
    one, other = (make_judge(load_config(folder / "own.toml", overrides), PROBLEMS) for overrides in (
        [], ['rewards.functions=["users_process:counts_too", {function="users_process:scaled", args={low=0.5}}]']
    ))  # fmt: skip
    assert one.fingerprint != other.fingerprint  # of a warm-up that was judged by it


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"function": "users_process:scaled"}, "missing 1 required"),
        ({"function": "users_process:scaled", "args": {"lo": 1}}, "unexpected keyword argument 'lo'"),
        ({"function": "users_process:gives_none"}, "cannot be called"),
        ({"function": "users_process:scale", "args": {}}, "did you mean scale"),
        ({"function": "users_process:accuracy_reward", "args": {"tolerance": 1}}, "TypeError"),
        ("Scaled", "a class"),
    ],
)
def test_a_factory_that_makes_no_function_is_refused_before_the_run(folder, entry, says):
    with pytest.raises(VerifierError) as error:
        judge_of(folder, entry)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "entry",
    ["{}", "{function=1}", "{args={}}", "{function='a:b', args=[1]}", "{function='a:b', arg={x=1}}"],
)
def test_an_entry_that_is_no_factory_is_refused(entry):
    with pytest.raises(ConfigError, match="module:factory"):
        make_config(f"rewards.functions=[{entry}]")
