"""All losses of a data set, backbone and seed run in one environment. Time and cluster are what the tests say."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.execution.placement import GRACE, Node, Placement, told
from orchestrator.execution.queue import LOOK_AGAIN, Queue, Ticket
from orchestrator.experiment.plan import Cell, identity
from orchestrator.experiment.resources import Resources
from orchestrator.outcome import Adopted, Attempt, Failed, Finished, Lost
from trainers.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.execution.queue import Place

ATTEMPT = Attempt("here", 0.0, 1.0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_cell(loss: str = "softmax", seed: int = 0, backbone: str = "resnet8", **resources: Any) -> Cell:
    recipe = Recipe.model_validate({"loss": loss, "backbone": backbone, "dataset": "digits", "seed": seed})
    return Cell(identity(recipe), loss, backbone, "digits", seed, recipe, Resources(**resources))


def node(name: str, kind: str = "avx2", cpus: float = 2, gpus: float = 0, device: str | None = None) -> Node:
    return Node(name, {"CPU": cpus, "GPU": gpus}, (("instruction_set", kind), ("device", device)))


def environment(cell: Cell, told: Mapping[str, Any]) -> str:
    return "-".join(
        filter(None, [told["instruction_set"], told.get("device"), cell.backbone, str(cell.resources.cpus)])
    )


AVX2 = "avx2-resnet8-1"
AVX512 = "avx512-resnet8-1"
LOSSES = ("softmax", "bce_unified", "focal")


def placement(*nodes: Node, clock: Clock | None = None, **done: str) -> Placement:
    made = Placement(
        environment, {("digits", "resnet8", int(seed[1:])): [name] for seed, name in done.items()}, clock or Clock()
    )
    made.found(nodes)
    return made


def mixed(**done: str) -> Placement:
    return placement(node("a"), node("b", "avx512"), **done)


def test_where_all_machines_are_alike_any_will_do() -> None:
    assert placement(node("a"), node("b")).place(a_cell()) == ()
    assert placement(node("a")).place(a_cell()) == ()
    assert placement().place(a_cell()) == ()


def test_a_group_stays_where_it_began() -> None:
    places = mixed()
    first = places.place(a_cell("softmax", 0))
    assert first in (("a",), ("b",))
    places.taken(a_cell("softmax", 0), first)
    assert places.place(a_cell("bce_unified", 0)) == first
    other = places.place(a_cell("softmax", 1))
    assert other in {("a",), ("b",)} - {first}, "where there is more room"


def test_a_group_goes_where_another_launch_is_at_work_on_it_or_is_left_to_it() -> None:
    clock = Clock()
    places = Placement(environment, clock=clock)
    places.found([replace(node("a"), host="one"), replace(node("b", "avx512", cpus=8), host="two")])
    group = ("digits", "resnet8", 0)
    running: dict[Any, set[str]] = {group: {"one"}}
    places.others = lambda: running
    assert places.place(a_cell("softmax", 0)) == ("a",)
    assert places.place(a_cell("softmax", 1)) == ("b",), "where there is more room"
    running = {group: {"far away"}}
    clock.now += 3
    assert places.place(a_cell("softmax", 0)) == "wait"
    assert places.place(a_cell("softmax", 0).again_in(AVX2)) == ("a",), "a replica has its place"
    running = {}
    clock.now += 3
    places.ended(a_cell("softmax", 0), AVX2)
    assert places.place(a_cell("bce_unified", 0)) == ("a",), "what it did is there to be joined"
    running = {("digits", "resnet8", 1): {"far away"}}
    clock.now += 3
    places.taken(a_cell("softmax", 1), ("b",))
    assert places.place(a_cell("bce_unified", 1)) == ("b",), "it has begun here as well"


def test_all_machines_of_an_environment_will_do() -> None:
    places = placement(node("a"), node("b", "avx512"), node("c"), s0=AVX2)
    assert places.place(a_cell()) == ("a", "c")


def test_a_group_goes_to_its_finished_partners() -> None:
    assert mixed(s0=AVX512, s1=AVX2).place(a_cell(seed=0)) == ("b",)
    assert mixed(s0=AVX512, s1=AVX2).place(a_cell(seed=1)) == ("a",)


def test_partners_of_an_environment_that_is_not_there_bind_nobody() -> None:
    assert mixed(s0="another torch").place(a_cell()) in (("a",), ("b",))


def test_a_cell_waits_while_its_environment_is_full() -> None:
    places = placement(node("a", cpus=1), node("b", "avx512", cpus=1), s0=AVX2, s1=AVX2, s2=AVX2)
    places.taken(a_cell(seed=0), ("a",))
    assert places.place(a_cell(seed=1)) == ("a",), "one waits for its process"
    places.taken(a_cell(seed=1), ("a",))
    assert places.place(a_cell(seed=2)) == "wait"
    places.ended(a_cell(seed=1), AVX2)
    assert places.place(a_cell(seed=2)) == ("a",)


def test_gpus_tell_environments_apart_only_for_cells_that_use_them() -> None:
    nodes = (node("a", gpus=1, device="A100"), node("b", gpus=1, device="H100"))
    assert placement(*nodes).place(a_cell()) == ()
    assert placement(*nodes).place(a_cell(gpus=1)) in (("a",), ("b",))


def test_a_machine_that_is_too_small_is_no_choice() -> None:
    places = placement(node("a", cpus=1), node("b", "avx512", cpus=8))
    assert places.can(a_cell(cpus=4)) == ["avx512-resnet8-4"]
    assert places.place(a_cell(cpus=4)) == ()


def test_a_group_of_which_nothing_is_done_moves_as_soon_as_its_machines_are_gone() -> None:
    places = mixed()
    places.taken(a_cell("softmax"), ("b",))
    places.found([node("a"), node("c", "avx10")])
    places.ended(a_cell("softmax"))
    moved = places.place(a_cell("softmax"))
    assert moved in (("a",), ("c",))
    places.taken(a_cell("softmax"), moved)
    assert places.place(a_cell("bce_unified")) == moved


def test_a_group_of_which_something_is_done_waits_for_its_machines_and_then_moves() -> None:
    clock = Clock()
    places = placement(node("a"), node("b", "avx512"), clock=clock)
    places.taken(a_cell("softmax"), ("b",))
    places.ended(a_cell("softmax"), AVX512)
    places.found([node("a")])
    assert places.place(a_cell("bce_unified")) == "wait"
    assert places.place(a_cell("softmax", 1)) == (), "other groups go on"
    clock.now += GRACE
    assert places.place(a_cell("bce_unified")) == ()


def test_machines_that_come_back_have_their_groups_again() -> None:
    clock = Clock()
    places = placement(node("a"), node("b", "avx512"), clock=clock)
    places.taken(a_cell("softmax"), ("b",))
    places.ended(a_cell("softmax"), AVX512)
    places.found([node("a")])
    clock.now += GRACE / 2
    places.found([node("a"), node("b2", "avx512")])
    assert places.place(a_cell("bce_unified")) == ("b2",)


def test_a_replica_runs_in_its_environment_or_not_at_all() -> None:
    clock = Clock()
    places = placement(node("a"), node("b", "avx512"), clock=clock)
    assert places.place(a_cell().again_in(AVX512)) == ("b",)
    assert places.place(a_cell().again_in("elsewhere")) == "gone"
    places.found([node("a")])
    assert places.place(a_cell().again_in(AVX512)) == "wait"
    clock.now += GRACE
    assert places.place(a_cell().again_in(AVX512)) == "gone"
    assert places.place(a_cell().again_in(AVX2)) == ()


def test_a_replica_binds_no_group() -> None:
    places = mixed(s0=AVX2)
    copy = a_cell().again_in(AVX512)
    places.taken(copy, ("b",))
    places.ended(copy, AVX512)
    assert places.place(a_cell("bce_unified")) == ("a",)


def test_a_machine_tells_of_itself_without_torch() -> None:
    found = dict(told())
    assert found.keys() == {"torch_version", "instruction_set", "onednn_isa", "device"}
    assert found["torch_version"]


# With the queue


def drained(queue: Queue, places: Placement, rng: random.Random) -> dict[str, str]:
    """Run everything, in any order; the environment of each cell."""
    where: dict[str, str] = {}
    running: list[Ticket] = []
    while not queue.over:
        while ticket := queue.take():
            running.append(ticket)
        assert running, "it stands still"
        ticket = running.pop(rng.randrange(len(running)))
        name = AVX512 if ticket.nodes == ("b",) else AVX2
        where[ticket.cell.id] = name
        queue.ended(Finished(ticket.cell, ATTEMPT, {}, environment=name))
    return where


@pytest.mark.parametrize("chance", range(5))
def test_every_group_ends_in_one_environment_and_each_has_its_share(chance: int) -> None:
    places = placement(node("a", cpus=6), node("b", "avx512", cpus=2))
    cells = [a_cell(loss, seed) for loss in LOSSES for seed in range(40)]
    where = drained(Queue(cells, places=places), places, random.Random(chance))
    groups = defaultdict[int, set[str]](set)
    for cell in cells:
        groups[cell.seed].add(where[cell.id])
    assert all(len(found) == 1 for found in groups.values())
    assert 20 <= Counter(name for (name,) in groups.values())[AVX2] <= 38


def test_a_cell_that_waits_for_its_machines_holds_up_no_other() -> None:
    places = placement(
        node("a", cpus=1), node("b", "avx512", cpus=1), **{f"s{seed}": AVX2 for seed in range(9)}, s9=AVX512
    )
    queue = Queue([a_cell(seed=seed) for seed in range(10)], places=places)
    tickets = list(iter(queue.take, None))
    assert [(ticket.cell.seed, ticket.nodes) for ticket in tickets] == [(0, ("a",)), (1, ("a",)), (9, ("b",))]


def test_a_lost_cell_is_placed_anew() -> None:
    clock = Clock()
    places = placement(node("a"), node("b", "avx512"), clock=clock)
    queue = Queue([a_cell()], places=places, clock=clock)
    first = queue.take()
    assert first is not None
    (gone,) = first.nodes
    places.found([each for each in (node("a"), node("b", "avx512"), node("c", "avx10")) if each.id != gone])
    queue.ended(Lost(first.cell, ATTEMPT, "node", "it went", ""))
    clock.now += 5
    again = queue.take()
    assert again is not None
    assert gone not in again.nodes


def test_a_replica_whose_machines_are_gone_for_good_fails_and_the_queue_ends() -> None:
    told = list[Adopted | Failed]()
    queue = Queue([a_cell().again_in("elsewhere")], places=mixed(), adopted=told.append)
    assert queue.take() is None
    (failed,) = told
    assert isinstance(failed, Failed)
    assert failed.error == "No machine of environment elsewhere is left to train it on."
    assert (failed.attempt.seconds, failed.traceback) == (0, "")
    queue.ended(failed)
    assert queue.over


def test_what_waits_is_looked_through_again_after_a_while_and_after_every_end() -> None:
    clock = Clock()
    places = placement(node("a", cpus=1), node("b", "avx512"), clock=clock, s0=AVX2, s1=AVX2, s2=AVX2)
    queue = Queue([a_cell(seed=seed) for seed in range(3)], places=places, clock=clock)
    first = queue.take()
    second = queue.take()
    assert first
    assert second
    assert queue.take() is None
    queue.ended(Finished(first.cell, ATTEMPT, {}, environment=AVX2))
    third = queue.take()
    assert third is not None
    queue.ended(Lost(second.cell, ATTEMPT, "process", "it went", ""))
    places.found([node("b", "avx512")])
    assert queue.take() is None
    clock.now += GRACE + LOOK_AGAIN
    again = queue.take()
    assert again is not None
    assert again.cell == second.cell


# However many wait, a look asks once for each thing that cells ask for


class Scan(Queue):
    """Looks through every waiting cell, one by one."""

    def _next_fresh(self) -> Iterator[Cell]:
        cells = [*self._fresh]
        for needed in sorted({cell.resources for cell in cells}, key=lambda each: (each.gpus, each.cpus), reverse=True):
            kinds = defaultdict[tuple[str, str, str], list[Cell]](list)
            for cell in cells:
                if cell.resources == needed:
                    kinds[cell.kind].append(cell)
            for kind in sorted(kinds, key=lambda kind: self._urgency(kind, kinds[kind][0]), reverse=True):
                yield from kinds[kind]


class EachAlone(Placement):
    """Every cell asks for something else, so that none is passed over."""

    def asks(self, cell: Cell) -> str:
        return cell.id


def drawn_cells(rng: random.Random) -> list[Cell]:
    cells = [
        a_cell(loss, seed, backbone, cpus=cpus, gpus=gpus)
        for backbone, cpus, gpus in (("resnet8", 1, 0), ("resnet20", 1, 0.5), ("vgg11_small", 2, 1))
        for loss in LOSSES
        for seed in range(6)
    ]
    replicas = [cell.again_in(environment(cell, {"instruction_set": rng.choice(["avx2", "gone"])})) for cell in cells]
    chosen = [*rng.sample(cells, 40), *rng.sample(replicas, 4)]
    rng.shuffle(chosen)
    return chosen


def handed_out(make: type[Queue], place: type[Placement], chance: int) -> list[tuple[float, str, tuple[str, ...]]]:
    """When each cell was handed out, and for which machines; machines, launches and endings come and go at random."""
    rng = random.Random(chance)
    clock = Clock()
    nodes = [
        node("a", cpus=3, gpus=1, device="A"),
        node("b", "avx512", cpus=2, gpus=2, device="B"),
        node("c", cpus=2, gpus=1, device="A"),
        node("d", "avx512", cpus=4),
    ]
    nodes = [replace(each, host=each.id) for each in nodes]
    done = {("digits", "resnet8", 0): ["avx2-resnet8-1"], ("digits", "resnet20", 1): ["avx512-B-resnet20-1"]}
    places = place(environment, done, clock)
    places.found(nodes)
    elsewhere: dict[Any, set[str]] = {}
    places.others = lambda: dict(elsewhere)
    cells = drawn_cells(rng)
    every = [*cells]
    later = [cells.pop() for _ in range(8)]
    permissions: Any = ["mine", "mine", "mine", "mine", "taken", "wait", "finished"]
    queue = make(
        cells,
        places=places,
        clock=clock,
        claim=lambda _: rng.choice(permissions),
        adopted=lambda _: None,
        more=lambda _: [later.pop()] if later else [],
    )
    running = list[Ticket]()
    order = list[tuple[float, str, tuple[str, ...]]]()
    for _ in range(4000):
        if queue.over:
            break
        while ticket := queue.take():
            running.append(ticket)
            order.append((clock.now, ticket.cell.id, ticket.nodes))
        known = {ticket.cell.id for ticket in running}
        homeless = queue.running() - known  # whose environment is gone
        running += [Ticket(cell) for cell in every if cell.id in homeless]
        match rng.randrange(8):
            case 0:
                places.found(rng.sample(nodes, rng.randint(1, 4)))
            case 1:
                elsewhere = {("digits", "vgg11_small", rng.randrange(6)): {rng.choice("abcz")}}
            case _:
                pass
        clock.now += rng.choice([0.1, 0.6, 3.0, 70.0])
        if running:
            ticket = running.pop(rng.randrange(len(running)))
            told = str(rng.choice([each.kind[0][1] for each in nodes]))
            where = environment(ticket.cell, {"instruction_set": told, "device": "A" if told == "avx2" else "B"})
            ends = [Finished(ticket.cell, ATTEMPT, {}, environment=where), Lost(ticket.cell, ATTEMPT, "node", "", "")]
            queue.ended(rng.choice(ends))
    assert queue.over
    return order


@pytest.mark.parametrize("chance", range(20))
def test_cells_are_handed_out_as_if_every_one_was_looked_at(chance: int) -> None:
    expected = handed_out(Scan, EachAlone, chance)
    assert len(expected) > 40
    assert handed_out(Queue, Placement, chance) == expected


def test_a_look_asks_about_groups_of_cells_rather_than_about_cells() -> None:
    asked = Counter[str]()

    class Counted(Placement):
        def place(self, cell: Cell) -> Place:
            asked[cell.id] += 1
            return super().place(cell)

    places = Counted(environment)
    places.found([node("a"), node("b", "avx512")])
    cells = [a_cell(loss, seed) for loss in LOSSES for seed in range(50)]
    queue = Queue(cells, places=places)
    running = list(iter(queue.take, None))
    asked.clear()
    queue.ended(Finished(running[0].cell, ATTEMPT, {}, environment=AVX2))
    assert queue.take()
    assert queue.take() is None
    assert sum(asked.values()) < 12
