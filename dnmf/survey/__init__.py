"""Surveys of many ranks, seeds and folds, to choose the rank; `request.py` shows the passes."""

from dnmf.survey.consensus import Consensus
from dnmf.survey.reading import is_survey, stored_survey, survey_facts
from dnmf.survey.stability import Stability
from dnmf.survey.survey import make_survey
from dnmf.survey.table import RankSurvey, SurveyModel

__all__ = [
    "Consensus",
    "RankSurvey",
    "Stability",
    "SurveyModel",
    "is_survey",
    "make_survey",
    "stored_survey",
    "survey_facts",
]
