"""Exhibits of methods side by side: against chance, closed-form methods and each other."""

from collections.abc import Iterable, Mapping

from citrus_ray.evidence.standings import Duel, Placed, Standings, told
from citrus_ray.experiment.labels import count
from citrus_ray.report import captions as words
from citrus_ray.report.exhibits.exhibit import Exhibit
from citrus_ray.report.figures import methods
from citrus_ray.report.numbers import DASH, interval, number, probability
from citrus_ray.report.tables import Field, Table, TableRow

MAX_COMPARED = 14  # methods in the map of each against each


def side_by_side(found: Standings | None, scale: float) -> Iterable[Exhibit]:
    if found is None or len(found.placed) < 2:
        return
    over = f"{count(len(found.places), 'place')} ({count(found.n_targets, 'target')})"
    rows = tuple(_line(one) for one in found.placed)
    yield Exhibit(
        "methods",
        "Against chance, closed-form methods and each other",
        told(found),
        f"Mean test score over the {over} that all compared methods were scored at, with its "
        "95 % interval over rounds. Filled circles: networks; hollow: views, which hold networks "
        "and closed-form methods; squares: methods without a network, filled where a user would "
        "try them first. Dashed: the best closed-form method, chosen by its test score, so that a "
        "network that wins has won. `raw_` is without normalisation.",
        (Table("Methods, best first", (*HEAD, *OF_NETWORKS), rows),),
        lambda: methods.standing_forest(found),
    )
    n = len({name for duel in found.duels for name in (duel.one, duel.other)})
    if 3 <= n <= MAX_COMPARED:
        yield _each_against_each(found, scale)


HEAD = ("method", "kind", "mean test score", "95 % interval", "rounds")
OF_NETWORKS = ("minus best closed form", "interval of that", "Holm p", "verdict")


def _line(one: Placed) -> TableRow:
    start = (
        Field(one.standing.label, full=one.standing.settings),
        one.standing.kind,
        number(one.effect.mean),
        interval(one.effect),
        str(one.effect.n),
    )
    if one.against is None:
        return (*start, *[DASH] * len(OF_NETWORKS))
    of = one.against
    ends = number(of.effect.mean, sign=True), interval(of.effect, sign=True)
    return (*start, *ends, probability(of.p_holm), badge(of.verdict))


def badge(verdict: str) -> Field:
    signs: Mapping[str, str] = {str(key): sign for key, sign in words.SIGNS.items()}
    return Field(f"{signs[verdict]} {verdict}", style=f"badge {verdict}")


def _each_against_each(found: Standings, scale: float) -> Exhibit:
    decided = sum(duel.found.verdict in ("supported", "contradicted") for duel in found.duels)
    unit = "points" if scale > 1 else words.metric_name(found.design.test_metric)
    return Exhibit(
        "duels",
        "Each against each",
        f"Of {count(len(found.duels), 'pair')} of methods, {decided} differ after correction.",
        f"Row minus column in {unit}, better above 0, over the same places; ◇ marks what is open. "
        "Holm corrects over all pairs.",
        (Table("Each against each", DUEL_HEAD, tuple(map(_duel_line, found.duels))),),
        lambda: methods.duel_map(found, scale),
    )


DUEL_HEAD = ("method", "minus", "difference", "95 % interval", "counted", "Holm p", "verdict")


def _duel_line(duel: Duel) -> TableRow:
    of = duel.found
    ends = number(of.effect.mean, sign=True), interval(of.effect, sign=True)
    return (duel.one, duel.other, *ends, of.counts, probability(of.p_holm), badge(of.verdict))
