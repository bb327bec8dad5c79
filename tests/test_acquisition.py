"""Is it the kind of image that the models were trained on? Judged from what scanners and people write."""

from __future__ import annotations

import pytest

from brain_tumor.acquisition import judge
from brain_tumor.labels import CLASS_NAMES


@pytest.mark.parametrize(
    "text, sequence, contrast",
    [
        ("t1_mprage_sag_p2_iso_KM", "t1", True),
        ("AX T1 POST GAD", "t1", True),
        ("Ax T1 +C", "t1", True),
        ("T1W_3D_TFE+Gd", "t1", True),
        ("SAG T1 PRE", "t1", False),
        ("T1 without contrast", "t1", False),
        ("T1 tra o. KM", "t1", False),
        ("T1 C-", "t1", False),
        ("PRE-OP T1 GD AX", "t1", True),
        ("sub-01_ses-pre_ce-gad_T1w.nii.gz", "t1", True),
        ("T1 AX POST OP", "t1", None),
        ("StealthStation T1 postop", "t1", None),
        ("T1 SE AX POST-RT", "t1", None),
        ("ax t1 se", "t1", None),
        ("3D FSPGR BRAVO", "t1", None),
        ("BraTS-GLI-00005-000-t1c.nii.gz", "t1", True),
        ("BraTS-GLI-00005-000-t1n.nii.gz", "t1", False),
        ("BraTS20_Training_001_t1ce.nii", "t1", True),
        ("BraTS-GLI-00005-000-t2f.nii.gz", "flair", None),
        ("BraTS-GLI-00005-000-t2w.nii.gz", "t2", None),
        ("BraTS-GLI-00005-000-seg.nii.gz", "mask", None),
        ("sub-01_T1w.nii.gz", "t1", None),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "t1", True),
        ("Ax T1 FLAIR", "t1", None),
        ("t2_tirm_tra_dark-fluid", "flair", None),
        ("SAG CUBE T2 FLAIR", "flair", None),
        ("t2_tse_tra", "t2", None),
        ("ep2d_diff_3scan_trace_ADC", "diffusion", None),
        ("DWI b1000", "diffusion", None),
        ("T2* GRE", "susceptibility", None),
        ("SWI_Images", "susceptibility", None),
        ("TOF_3D_multi-slab", "angiography", None),
        ("ep2d_perf DSC", "perfusion", None),
        ("3-plane localizer", "localiser", None),
        ("PD fs sag", "pd", None),
        ("Unnamed", "", None),
        ("", "", None),
    ],
)
def test_names_tell_the_sequence_and_contrast(text, sequence, contrast):
    scan = judge((text,), modality="MR")
    assert (scan.sequence, scan.contrast) == (sequence, contrast)


@pytest.mark.parametrize(
    "parameters, sequence",
    [
        ({"scanning": ("SE",), "echo_time": 12, "repetition_time": 500}, "t1"),
        ({"scanning": ("SE",), "echo_time": 100, "repetition_time": 4000}, "t2"),
        ({"scanning": ("SE",), "echo_time": 15, "repetition_time": 2500}, "pd"),
        ({"scanning": ("GR", "IR"), "echo_time": 3, "repetition_time": 1900, "inversion_time": 900}, "t1"),
        ({"scanning": ("SE", "IR"), "echo_time": 120, "repetition_time": 9000, "inversion_time": 2500}, "flair"),
        ({"scanning": ("GR",), "echo_time": 4, "repetition_time": 9}, "t1"),
        ({"scanning": ("GR",), "echo_time": 25, "repetition_time": 700}, "susceptibility"),
        ({"scanning": ("EP", "SE"), "echo_time": 90, "repetition_time": 4000}, ""),
        ({"diffusion_weighting": 1000.0}, "diffusion"),
        ({"acquisition_contrast": "FLUID_ATTENUATED"}, "flair"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localiser"),
        ({}, ""),
    ],
)
def test_parameters_tell_the_sequence_where_names_do_not(parameters, sequence):
    assert judge(("head",), modality="MR", **parameters).sequence == sequence


@pytest.mark.parametrize(
    "agent, contrast",
    [
        ("Gadovist 7.5 ml", True),
        ("NONE", False),
        ("no", False),
        ("No contrast", False),
        ("NO GAD", False),
        ("without contrast agent", False),
        ("NONE GIVEN", False),
        ("no_contrast", False),
        ("Nein", False),
        ("Kein KM", False),
        ("0 ml", False),
        ("N/A", None),
        ("Unknown", None),
        ("-", None),
        ("", None),
        (None, None),
    ],
)
def test_contrast_agent(agent, contrast):
    assert judge(("t1",), modality="MR", agent=agent).contrast is contrast


def test_images_before_the_agent_are_without_it_though_the_examination_names_one():
    assert judge(("AX T1 PRE",), modality="MR", agent="Gadovist").contrast is False
    assert judge(("AX T1 POST",), modality="MR", agent="N/A").contrast is True


@pytest.mark.parametrize("body_part", ["HEAD", "CABEZA", "ENCEPHALE", "Cerveau", "HERSENEN", "HUVUD", "PITUITARY"])
def test_the_head_is_known_in_several_languages(body_part):
    assert judge(("t1 +c",), modality="MR", body_part=body_part).caution() is None


def test_no_hint_where_nothing_is_unlike_training():
    assert judge(("t1 mprage",), modality="MR", agent="Dotarem", body_part="BRAIN").caution() is None


@pytest.mark.parametrize(
    "known, says",
    [
        ({"modality": "CT"}, "a CT scan"),
        ({"modality": "PT"}, "a PET scan"),
        ({"modality": "ECG"}, "not an MR image"),
        ({"modality": "MR", "body_part": "KNEE"}, "another part of the body"),
        ({"modality": "MR", "body_part": "HEART"}, "another part of the body"),
        ({"modality": "MR", "body_part": "FOREARM"}, "another part of the body"),
        ({"modality": "MR", "body_part": "ILIAC"}, "another part of the body"),
        ({"modality": "MR", "body_part": "CERVICAL SPINE"}, "another part of the body"),
        ({"modality": "MR", "texts": ("AX T1 no gad",)}, "without contrast agent"),
        ({"modality": "MR", "texts": ("FLAIR",)}, "no tumour found means little"),
        ({"modality": "MR", "texts": ("T2",)}, "T2-weighted"),
        ({"modality": "MR", "texts": ("DWI",)}, "diffusion-weighted"),
        ({"modality": "MR", "texts": ("T1 pre",)}, "without contrast agent"),
        ({"modality": "MR", "texts": ("T1",)}, "No contrast agent is named"),
        ({"modality": "MR"}, "could not be told"),
        ({"modality": "OT"}, "could not be told"),
        ({"modality": "MR", "texts": ("T1 +C",), "annotated": True}, "burned into"),
        ({"modality": "OT", "annotated": None}, "look for names"),
    ],
)
def test_hints(known, says):
    text = judge(**{"texts": ("",), **known}).caution().text
    assert says in text and text.endswith(".")


def test_oblique_slices_are_told():
    scan = judge(("T1 +C",), modality="MR")
    assert scan.caution(20) is None
    assert "oblique" in scan.caution(40).text
    other = judge(("t2 flair",), modality="MR")
    assert "FLAIR" in other.caution(40).text and "oblique" in other.caution(40).text


@pytest.mark.parametrize(
    "known, unknown, doubtful",
    [
        ({"modality": "CT"}, True, ()),
        ({"modality": "SEG"}, True, ()),
        ({"modality": "MR", "texts": ("seg",)}, True, CLASS_NAMES),
        ({"modality": "MR", "texts": ("T1",)}, False, ()),
        ({"modality": "MR"}, False, ()),
        ({"modality": "MR", "texts": ("FLAIR",)}, False, ("notumor",)),
        ({"modality": "MR", "texts": ("DWI",)}, False, CLASS_NAMES),
        ({"modality": "MR", "texts": ("T1 +C",), "body_part": "KNEE"}, False, CLASS_NAMES),
    ],
)
def test_what_is_unlike_training_takes_answers_away(known, unknown, doubtful):
    found = judge(**{"texts": ("",), **known}).caution()
    assert (found.unknown, found.doubtful) == (unknown, doubtful)
