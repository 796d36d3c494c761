"""Preference studies: people see an input, a sentence and two results, and say which is better.

A forced choice between two, as Imagic's authors compared it with other methods (Kawar et al., CVPR 2023). `open_study`
takes the results of a run, `StudyServer` asks people on this computer, `simulate` answers by the known truth, and
`tally` counts.
"""

from imagic.bench.study.simulate import simulate
from imagic.bench.study.store import Store
from imagic.bench.study.study import Study, open_study
from imagic.bench.study.tally import Tally, plain, tables, tally

__all__ = ["Store", "Study", "Tally", "open_study", "plain", "simulate", "tables", "tally"]
