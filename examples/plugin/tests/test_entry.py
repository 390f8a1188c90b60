"""What a plugin's author checks about a trained model that ships with it."""

import pytest
from test_component import NAME, reading_error

import zoo


def test_the_weights_are_intact_and_compute_what_they_did():
    report = zoo.verify(NAME, deep=True)
    assert report.ok, report.problems


def test_the_model_reads_poses_as_well_as_its_entry_says():
    [result] = zoo.list(NAME)[0].results
    assert result["metric"] == "reading_error"
    error = reading_error(zoo.load(NAME))
    assert error == pytest.approx(result["value"], rel=0.01)
    assert error < 0.5 * result["baselines"]["predict_mean"]
