"""Online calibration: long-run coverage on any sequence, one compiled scan over many series."""

from probinf.conformal.online.aci import ACI as ACI
from probinf.conformal.online.aci import AgACI as AgACI
from probinf.conformal.online.aci import DtACI as DtACI
from probinf.conformal.online.enbpi import enbpi as enbpi
from probinf.conformal.online.gradient import PID as PID
from probinf.conformal.online.gradient import SAOCP as SAOCP
from probinf.conformal.online.gradient import SFOGD as SFOGD
from probinf.conformal.online.martingale import Drift as Drift
from probinf.conformal.online.martingale import ExchangeabilityTest as ExchangeabilityTest
from probinf.conformal.online.martingale import detect_drift as detect_drift
from probinf.conformal.online.spci import spci as spci
from probinf.conformal.online.track import OnlineMethod as OnlineMethod
from probinf.conformal.online.track import OnlineResult as OnlineResult
from probinf.conformal.online.track import OnlineStream as OnlineStream
from probinf.conformal.online.track import track as track
