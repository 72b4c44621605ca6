"""The names of hardgrad.trees and where they are defined; made by `make stubs`."""

from hardgrad.trees.compression import compress as compress
from hardgrad.trees.estimators import SoftForestClassifier as SoftForestClassifier
from hardgrad.trees.estimators import SoftForestRegressor as SoftForestRegressor
from hardgrad.trees.explanation import explain as explain
from hardgrad.trees.forest import Forest as Forest
from hardgrad.trees.forest_build import ForestBuilder as ForestBuilder
from hardgrad.trees.forest_build import forest_from_trees as forest_from_trees
from hardgrad.trees.importers import import_forest as import_forest
from hardgrad.trees.meta_tree import MetaTreeClassifier as MetaTreeClassifier
from hardgrad.trees.meta_tree_training import train_meta_tree as train_meta_tree
from hardgrad.trees.meta_tree_weights import MetaTreeWeights as MetaTreeWeights
from hardgrad.trees.soft_forest import SoftForest as SoftForest
