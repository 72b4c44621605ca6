"""The names of hardgrad.gradients.diagnostics and where they are defined; made by `make stubs`."""

from hardgrad.gradients.diagnostics.chaos import ChaosReport as ChaosReport
from hardgrad.gradients.diagnostics.chaos import ChaosVerdict as ChaosVerdict
from hardgrad.gradients.diagnostics.chaos import chaos_report as chaos_report
from hardgrad.gradients.diagnostics.chaos import lyapunov_exponents as lyapunov_exponents
from hardgrad.gradients.diagnostics.gradient_check import GradientCheck as GradientCheck
from hardgrad.gradients.diagnostics.gradient_check import GradientVerdict as GradientVerdict
from hardgrad.gradients.diagnostics.gradient_check import check_gradient as check_gradient
from hardgrad.gradients.diagnostics.kinks import KinkReport as KinkReport
from hardgrad.gradients.diagnostics.kinks import KinkVerdict as KinkVerdict
from hardgrad.gradients.diagnostics.kinks import ModuleKinks as ModuleKinks
from hardgrad.gradients.diagnostics.kinks import audit_kinks as audit_kinks
from hardgrad.gradients.diagnostics.kinks import nondifferentiable_density_bound as nondifferentiable_density_bound
from hardgrad.gradients.diagnostics.nonsmooth import PathPoint as PathPoint
from hardgrad.gradients.diagnostics.nonsmooth import PathReport as PathReport
from hardgrad.gradients.diagnostics.nonsmooth import PathVerdict as PathVerdict
from hardgrad.gradients.diagnostics.nonsmooth import SharpnessReport as SharpnessReport
from hardgrad.gradients.diagnostics.nonsmooth import SharpnessVerdict as SharpnessVerdict
from hardgrad.gradients.diagnostics.nonsmooth import l1_path as l1_path
from hardgrad.gradients.diagnostics.nonsmooth import sharpness as sharpness
from hardgrad.gradients.diagnostics.nonsmooth import step_floor as step_floor
from hardgrad.gradients.diagnostics.report import Report as Report
from hardgrad.gradients.diagnostics.saved_memory import SavedTensorReport as SavedTensorReport
from hardgrad.gradients.diagnostics.saved_memory import SavedTensorVerdict as SavedTensorVerdict
from hardgrad.gradients.diagnostics.saved_memory import saved_for_backward as saved_for_backward
