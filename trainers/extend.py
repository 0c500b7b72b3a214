"""What an extension needs: the decorators that register a loss or a risk measure, and their base classes.

    from dprm_trainers.extend import Loss, loss

    @loss("brier")
    class Brier(Loss): ...

`dprm train reward --objective brier+0.1*ce` and `--reading NAME:LEVEL` then find it in any installed package that names
its module in the entry-point group `dprm_data`. Import torch and numpy inside functions: `--help` imports the module
too.
"""

from __future__ import annotations

from dprm_trainers.reward.loss_terms import Loss, loss
from dprm_trainers.reward.risk_measures import Level, RiskMeasure, risk_measure

__all__ = ["Level", "Loss", "RiskMeasure", "loss", "risk_measure"]
