r"""Makes a report of a study, from its tables alone.

  python -m experiments.report studies/fashion_mnist
  python -m experiments.report experiments/results/fashion_mnist

It reads `study.json`, `results.csv` and what else is there of `trials.csv`,
`comparisons.csv`, `curves.csv` and `alpha.csv` and, of a study of streams,
`streams.csv`, `measures.csv` and `evaluations.csv`. Into the same directory it
writes `report.html`, a page that needs nothing else; `tables/` as Markdown and
CSV; and `figures/` as SVG and PNG. An incomplete study is reported as far as
it is, with what is missing.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import errors
from experiments import program
from experiments.reporting import report
from experiments.reporting import state
from experiments.studies import loading


def main(names: Sequence[str]) -> None:
  """The program."""
  if len(names) != 1:
    given = ' '.join(names) or 'none'
    raise errors.InvalidValueError(f'give one study directory, got {given!r}.')
  path = Path(names[0])
  study = loading.load(path)
  made = report.make(study)
  report.write(made, path)
  console = program.console()
  for sentence in state.sentences(study):
    console.print(sentence, soft_wrap=True)
  for title, reason in made.left_out.items():
    console.print(f'{title} is left out. {reason}', soft_wrap=True)
  console.print(
    f'{report.PAGE}, {report.TABLES} and {report.FIGURES} are in {path}',
    soft_wrap=True,
  )


if __name__ == '__main__':
  program.run(main, positional=True)
