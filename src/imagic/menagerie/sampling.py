"""Scenes sampled from a seed: the same seed gives the same scene, and so the same picture, on any machine.

Training and held-out scenes differ twice: in their seeds, and in the combinations of species, colour and place.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imagic.menagerie import facts as world
from imagic.menagerie.anatomy import POSE_SIZE, SHAPE_SIZE
from imagic.menagerie.bodies import fit_in_picture, place_pair
from imagic.menagerie.scenes import Animal, Coat, Rgb, Scene, Thing

HELD_OUT_OFFSET = 1 << 40  # between the seeds of the sets: training, held out, any
HELD_OUT_SHARE = 10  # one combination of (species, colour, place) in this many is never seen in training

BASE_COLOURS: dict[str, Rgb] = {
    "black": (0.11, 0.11, 0.13),
    "white": (0.93, 0.92, 0.89),
    "grey": (0.52, 0.53, 0.56),
    "brown": (0.42, 0.25, 0.13),
    "orange": (0.90, 0.52, 0.16),
    "blue": (0.20, 0.42, 0.80),
    "red": (0.78, 0.17, 0.15),
    "yellow": (0.95, 0.83, 0.25),
}


def is_held_out(species: str, colour: str, place: str) -> bool:
    """Whether this combination is kept from training: every tenth, in an order that mixes all three facts."""
    index = world.SPECIES.index(species) * 7 + world.BIRD_COLOURS.index(colour) * 3 + world.PLACES.index(place)
    return index % HELD_OUT_SHARE == 4


def sample_scene(seed: int, *, held_out: bool | None = False) -> Scene:
    """The scene of a seed (0 <= seed < 2**40), of a training or a held-out combination; None: of any combination.

    The three sets have seeds of their own. The third trains the judge: it measures, and must know every combination.
    """
    if not 0 <= seed < HELD_OUT_OFFSET:
        raise ValueError(f"seed must lie in [0, 2**40), not {seed}")
    offset = 2 * HELD_OUT_OFFSET if held_out is None else HELD_OUT_OFFSET * held_out
    rng = np.random.default_rng(seed + offset)
    while True:
        species, place = _pick(rng, world.SPECIES), _pick(rng, world.PLACES)
        colour = _pick(rng, world.colours_of(species))
        if held_out is None or is_held_out(species, colour, place) == held_out:
            return _scene(rng, species, colour, place)


def _scene(rng: np.random.Generator, species: str, colour: str, place: str) -> Scene:
    indoors = place in world.INDOOR_PLACES
    pair = rng.random() < 0.2
    posture = _pick(rng, tuple(p for p in world.postures_of(species) if not (pair and p == "jumping")))
    horizon = float(rng.uniform(0.52, 0.68))
    ground_line = float(rng.uniform(0.80, 0.90))
    if pair:
        relation = _pick(rng, world.RELATIONS)
        size = float(rng.uniform(0.23, 0.27))
        animals = tuple(
            _animal(rng, species, posture, colour, facing, x, ground_line, size * float(rng.uniform(0.97, 1.03)))
            for facing, x in (("right", 0.27), ("left", 0.73))
        )
        animals = place_pair(animals, relation)
    else:
        relation = world.NONE
        size = float(rng.uniform(0.35, 0.46))
        facing = _pick(rng, world.FACINGS)
        x = float(rng.uniform(0.40, 0.60))
        animal = _animal(rng, species, posture, colour, facing, x, ground_line, size)
        hat = _pick(rng, world.ACCENTS) if rng.random() < 0.2 else world.NONE
        scarf = _pick(rng, world.ACCENTS) if rng.random() < 0.15 else world.NONE
        postures = world.postures_of(species)
        animals = (fit_in_picture(replace(animal, hat=hat, scarf=scarf), postures),)
    return Scene(
        animals=animals,
        place=place,
        sky=world.NONE if indoors else _pick(rng, world.SKIES),
        relation=relation,
        things=_things(rng, indoors, horizon, ground_line),
        style=_style(rng, pair),
        horizon=horizon,
        light=(float(rng.uniform(-1, 1)), float(rng.uniform(0.92, 1.06)), float(rng.uniform(-1, 1))),
        ground=_floats(rng, 10, 0, 1),
        backdrop=_floats(rng, 12, 0, 1),
    )


def _style(rng: np.random.Generator, pair: bool) -> str:
    """Mostly plain. Two animals are too small for pixel art."""
    styles = world.STYLES[1:3] if pair else world.STYLES[1:]
    return _pick(rng, styles) if rng.random() < 0.28 else world.STYLES[0]


def _animal(
    rng: np.random.Generator, species: str, posture: str, colour: str, facing: str, x: float, y: float, size: float
) -> Animal:
    return Animal(
        species=species,
        posture=posture,
        coat=sample_coat(rng, colour),
        facing=facing,
        x=x,
        y=y,
        size=size,
        shape=_floats(rng, SHAPE_SIZE, 0.86, 1.14),
        pose=_floats(rng, POSE_SIZE, -1, 1),
    )


def sample_coat(rng: np.random.Generator, colour: str) -> Coat:
    """An individual coat of a named colour."""
    base = _jitter(rng, BASE_COLOURS[colour], 0.035)
    pattern = str(rng.choice(("plain", "spots", "stripes", "patches"), p=(0.2, 0.27, 0.27, 0.26)))
    turn, shift = float(rng.uniform(0, np.pi)), rng.uniform(0, 2 * np.pi, 3)
    waves: tuple[tuple[float, float, float], ...]
    match pattern:
        case "stripes":
            k = float(rng.uniform(13, 20))
            waves = ((k, float(rng.uniform(-3, 3)), shift[0]), (3.1, 7.3, shift[1]), (6.7, -4.9, shift[2]))
            weights, threshold = (1.0, 0.35, 0.25), float(rng.uniform(0.25, 0.55))
        case "spots":
            k = float(rng.uniform(14, 20))
            waves = tuple(
                (k * float(np.cos(turn + i * 2.09)), k * float(np.sin(turn + i * 2.09)), shift[i]) for i in range(3)
            )
            weights, threshold = (1.0, 1.0, 1.0), float(rng.uniform(0.75, 1.15))
        case _:
            k = float(rng.uniform(4.5, 8))
            waves = tuple(
                (k * float(np.cos(turn + i * 1.9)), k * float(np.sin(turn + i * 1.9)) * (1 + 0.3 * i), shift[i])
                for i in range(3)
            )
            weights, threshold = (1.0, 0.8, 0.6), float(rng.uniform(0.5, 0.95))
    if pattern == "plain":
        threshold = 9.0
    return Coat(
        colour=colour,
        base=base,
        mark=marking(rng, colour),
        pattern=pattern,
        waves=tuple((float(kx), float(ky), float(phase)) for kx, ky, phase in waves),
        weights=weights,
        threshold=threshold,
    )


MARK_COLOURS: dict[str, tuple[Rgb, ...]] = {
    "black": ((0.45, 0.40, 0.36), (0.38, 0.26, 0.16)),
    "white": ((0.55, 0.53, 0.52), (0.62, 0.50, 0.38)),
    "grey": ((0.24, 0.24, 0.27), (0.80, 0.80, 0.81)),
    "brown": ((0.20, 0.11, 0.06), (0.74, 0.60, 0.44)),
    "orange": ((0.62, 0.28, 0.07), (0.98, 0.80, 0.55)),
    "blue": ((0.09, 0.19, 0.46), (0.62, 0.76, 0.93)),
    "red": ((0.40, 0.06, 0.07), (0.94, 0.60, 0.52)),
    "yellow": ((0.74, 0.52, 0.10), (0.99, 0.95, 0.72)),
}


def marking(rng: np.random.Generator, colour: str) -> Rgb:
    """The colour of the marks on a coat of a named colour: darker or lighter, of the same family."""
    return _jitter(rng, MARK_COLOURS[colour][int(rng.integers(2))], 0.04)


def _things(rng: np.random.Generator, indoors: bool, horizon: float, ground_line: float) -> tuple[Thing, ...]:
    found = []
    far = horizon + 0.03
    if not indoors and rng.random() < 0.25:
        x = float(rng.choice((rng.uniform(0.08, 0.25), rng.uniform(0.75, 0.92))))
        found.append(Thing("tree", world.NONE, x, far, float(rng.uniform(0.38, 0.50)), _triple(rng)))
    if not indoors and rng.random() < 0.18:
        found.append(Thing("fence", world.NONE, 0.5, far - 0.01, float(rng.uniform(0.12, 0.17)), _triple(rng)))
    if rng.random() < 0.22:
        found.append(sample_ball(rng, ground_line))
    return tuple(found)


def sample_ball(rng: np.random.Generator, ground_line: float) -> Thing:
    """A ball in the foreground, beside the animals' feet."""
    x = float(rng.choice((rng.uniform(0.08, 0.22), rng.uniform(0.78, 0.92))))
    y = min(ground_line + float(rng.uniform(0.02, 0.07)), 0.97)
    return Thing("ball", _pick(rng, world.ACCENTS), x, y, float(rng.uniform(0.10, 0.14)), _triple(rng))


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def _floats(rng: np.random.Generator, count: int, low: float, high: float) -> tuple[float, ...]:
    return tuple(float(value) for value in rng.uniform(low, high, count))


def _triple(rng: np.random.Generator) -> tuple[float, float, float]:
    a, b, c = rng.uniform(0, 1, 3)
    return float(a), float(b), float(c)


def _jitter(rng: np.random.Generator, rgb: Rgb, spread: float) -> Rgb:
    r, g, b = np.clip(np.asarray(rgb) + rng.normal(0, spread * 0.4, 3) + rng.normal(0, spread * 0.6), 0.02, 0.98)
    return float(r), float(g), float(b)
