"""The report tells what opening a video then does."""

import pytest
import torch

from octvideo.data.doctor import report


def test_report_agrees_with_this_machine():
    findings = {finding.what: finding for finding in report()}
    assert findings["torch"].detail == torch.__version__
    assert findings["CUDA GPU"].works == torch.cuda.is_available()
    assert findings["pyav on the CPU"].works
    assert not findings["pyav on CUDA"].works
    assert findings["pyav on CUDA"].detail == "decodes on the CPU only"
    assert findings["auto on the CPU"].works
    for finding in findings.values():
        assert finding.detail
        assert "\n" not in finding.detail


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_nothing_is_said_to_decode_on_one():
    assert not any(finding.works for finding in report() if finding.what.endswith("on CUDA"))
