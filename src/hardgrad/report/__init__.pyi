"""The names of hardgrad.report and where they are defined; made by `make stubs`."""

from hardgrad.report.context import ReportContext as ReportContext
from hardgrad.report.importance import Importance as Importance
from hardgrad.report.importance import permutation_importance as permutation_importance
from hardgrad.report.measures import count_node_rows as count_node_rows
from hardgrad.report.page import render_report as render_report
from hardgrad.report.page import write_report as write_report
