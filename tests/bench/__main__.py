"""Run one benchmark and print its figures as JSON."""

import argparse
import json

from tests.bench import (
    against,
    cost,
    curves,
    data,
    engine,
    eta,
    finetune,
    gpu,
    growth,
    journey,
    kills,
    many,
    memory,
    obvious,
    population,
    report,
    saving,
    scale,
    scaling,
    startup,
    step,
    verdicts,
)

BENCHES = {
    "against": against.run,
    "cost": cost.run,
    "curves": curves.run,
    "data": data.run,
    "engine": engine.run,
    "eta": eta.run,
    "finetune": finetune.run,
    "gpu": gpu.run,
    "growth": growth.run,
    "journey": journey.run,
    "kills": kills.run,
    "many": many.run,
    "memory": memory.run,
    "obvious": obvious.run,
    "population": population.run,
    "report": report.run,
    "saving": saving.run,
    "scale": scale.run,
    "scaling": scaling.run,
    "startup": startup.run,
    "step": step.run,
    "verdicts": verdicts.run,
}


def main() -> None:
    cli = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    cli.add_argument("name", choices=sorted(BENCHES), help="which benchmark")
    cli.add_argument(
        "--full", action="store_true", help="all of it, where a benchmark is scaled down by default"
    )
    args = cli.parse_args()
    print(json.dumps(BENCHES[args.name](args.full), indent=1))


if __name__ == "__main__":
    main()
