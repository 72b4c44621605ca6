"""The names of hardgrad.logic and where they are defined; made by `make stubs`."""

from hardgrad.logic.circuit import Circuit as Circuit
from hardgrad.logic.circuit_build import NetworkBuilder as NetworkBuilder
from hardgrad.logic.circuit_model import CircuitModel as CircuitModel
from hardgrad.logic.gate_ids import Gate as Gate
from hardgrad.logic.gate_ids import gate_of_word as gate_of_word
from hardgrad.logic.gate_ids import lut_word as lut_word
from hardgrad.logic.gate_ids import truth_rows as truth_rows
from hardgrad.logic.proving import EquivalenceResult as EquivalenceResult
from hardgrad.logic.proving import equivalence as equivalence
from hardgrad.logic.runtime import CircuitRuntime as CircuitRuntime
from hardgrad.logic.runtime import prepare as prepare
from hardgrad.logic.simplification import simplify as simplify
