"""The names of hardgrad.bits and where they are defined; made by `make stubs`."""

from hardgrad.bits.equilibrium import network_equilibrium as network_equilibrium
from hardgrad.bits.estimators import BinaryMLPClassifier as BinaryMLPClassifier
from hardgrad.bits.layers import BinaryConv2d as BinaryConv2d
from hardgrad.bits.layers import BinaryLayer as BinaryLayer
from hardgrad.bits.layers import BinaryLinear as BinaryLinear
from hardgrad.bits.layers import WeightClipper as WeightClipper
from hardgrad.bits.layers import param_groups as param_groups
from hardgrad.bits.layers import set_surrogates as set_surrogates
from hardgrad.bits.network import BinaryNetwork as BinaryNetwork
from hardgrad.bits.network import estimate_batch_norm as estimate_batch_norm
from hardgrad.bits.network import measure_gap as measure_gap
from hardgrad.bits.packed import PackedLinear as PackedLinear
from hardgrad.bits.packed import PackedNetwork as PackedNetwork
from hardgrad.bits.packed_classifier import PackedClassifier as PackedClassifier
from hardgrad.bits.periodic import PeriodicBinaryConv2d as PeriodicBinaryConv2d
from hardgrad.bits.periodic import PeriodicBinaryLinear as PeriodicBinaryLinear
from hardgrad.bits.periodic import TwoStages as TwoStages
from hardgrad.bits.periodic import fit_two_stage as fit_two_stage
from hardgrad.bits.periodic import phase_penalty as phase_penalty
from hardgrad.bits.periodic import quantization_error as quantization_error
from hardgrad.bits.training import Recipe as Recipe
from hardgrad.bits.training import fit_network as fit_network
from hardgrad.bits.training import reste_exponent as reste_exponent
