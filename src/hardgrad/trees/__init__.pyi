"""The names of hardgrad.trees and where they are defined; made by `make stubs`."""

from hardgrad.trees.alignment import ForestAlignment as ForestAlignment
from hardgrad.trees.alignment import interpolate as interpolate
from hardgrad.trees.alignment import match_forests as match_forests
from hardgrad.trees.alignment import merge_forests as merge_forests
from hardgrad.trees.compression import compress as compress
from hardgrad.trees.estimators import SoftForestClassifier as SoftForestClassifier
from hardgrad.trees.estimators import SoftForestRegressor as SoftForestRegressor
from hardgrad.trees.explanation import explain as explain
from hardgrad.trees.forest import Forest as Forest
from hardgrad.trees.forest_build import ForestBuilder as ForestBuilder
from hardgrad.trees.forest_build import forest_from_trees as forest_from_trees
from hardgrad.trees.importers import import_forest as import_forest
from hardgrad.trees.interpolation import InterpolationBarrier as InterpolationBarrier
from hardgrad.trees.interpolation import interpolation_barrier as interpolation_barrier
from hardgrad.trees.smoothing import SmoothingReport as SmoothingReport
from hardgrad.trees.smoothing import smoother_matrix as smoother_matrix
from hardgrad.trees.smoothing_matrices import effective_parameters as effective_parameters
from hardgrad.trees.smoothing_rules import SmoothingRule as SmoothingRule
from hardgrad.trees.soft_forest import SoftForest as SoftForest
from hardgrad.trees.soft_smoothing import effective_parameter_penalty as effective_parameter_penalty
