"""What a medical student should know of each class before looking at slices of it. Text, and the sources behind it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A publication, `doi` without the resolver's address."""

    text: str
    doi: str


@dataclass(frozen=True)
class Page:
    """One class: `label` is its name, `sections` are (heading, paragraphs)."""

    label: str
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    sources: tuple[Source, ...]


_WHO = Source(
    "Louis DN et al. The 2021 WHO Classification of Tumors of the Central Nervous System: a summary. Neuro-Oncology "
    "2021;23:1231–1251.",
    "10.1093/neuonc/noab106",
)
_CBTRUS = Source(
    "Ostrom QT et al. CBTRUS Statistical Report: Primary Brain and Other Central Nervous System Tumors Diagnosed in "
    "the United States in 2015–2019. Neuro-Oncology 2022;24(Suppl 5):v1–v95.",
    "10.1093/neuonc/noac202",
)
_CHENG = Source(
    "Cheng J et al. Enhanced Performance of Brain Tumor Classification via Tumor Region Augmentation and Partition. "
    "PLoS ONE 2015;10(10):e0140381. (The slices with tumour come from here.)",
    "10.1371/journal.pone.0140381",
)

_PAGES = (
    Page(
        "glioma",
        (
            (
                "What it is",
                (
                    "A family of tumours of the brain's own tissue whose cells resemble glia. In adults most are "
                    "diffuse: they infiltrate the brain far beyond what can be seen. Since 2021 the diagnosis is "
                    "integrated: histology and molecular markers together. Three adult types matter most: "
                    "astrocytoma, IDH-mutant (grades 2 to 4); oligodendroglioma, IDH-mutant and 1p/19q-codeleted "
                    "(grades 2 and 3); glioblastoma, IDH-wildtype (grade 4).",
                    "Circumscribed gliomas, such as pilocytic astrocytoma, and ependymal tumours are diseases of "
                    "their own, with other ages, places and outlooks. The data set behind these models says just "
                    "“glioma”.",
                ),
            ),
            (
                "Who gets it",
                (
                    "Glioblastoma is the most frequent malignant primary brain tumour of adults: about half of all "
                    "malignant ones and a seventh of all primary brain tumours in the United States registry. It is "
                    "commonest in the sixties and seventies and in men. Five years after the diagnosis few patients "
                    "are alive. IDH-mutant tumours affect younger adults, typically in their thirties and forties, "
                    "and go with a longer course. Pilocytic astrocytoma is a tumour of children.",
                ),
            ),
            (
                "Where",
                (
                    "Within the brain (intra-axial). In adults mostly in the cerebral hemispheres, the frontal and "
                    "temporal lobes first. Glioblastoma spreads along white matter and may cross the corpus callosum "
                    "(“butterfly”). Oligodendroglioma likes the frontal cortex. In children the cerebellum, the brain "
                    "stem and the optic pathway are typical.",
                ),
            ),
            (
                "On MRI",
                (
                    "T1: darker than grey matter; blood is bright. T2 and FLAIR: bright, with oedema and infiltrating "
                    "tumour that cannot be told apart. T1 with contrast: glioblastoma shows a thick, irregular, "
                    "nodular rim around necrosis; lower-grade diffuse tumours often do not enhance at all, though "
                    "some do, and a tumour without enhancement is not thereby low-grade.",
                    "T2–FLAIR mismatch (homogeneously bright on T2, but dark on FLAIR except for a rim) is a specific "
                    "but insensitive sign of an IDH-mutant astrocytoma without codeletion. Calcification, best seen "
                    "on CT or susceptibility-weighted images, points to oligodendroglioma. Perfusion is raised in "
                    "solid parts of glioblastoma. Diffusion is restricted where cells are dense, not in the necrotic "
                    "centre.",
                ),
            ),
            (
                "What mimics it",
                (
                    "Metastasis (often several, at the border of grey and white matter, much oedema for its size); "
                    "abscess (thin smooth rim, and a centre that restricts diffusion); lymphoma (solid, homogeneous "
                    "enhancement, restricted diffusion, next to the ventricles); tumefactive demyelination (often an "
                    "incomplete ring); a subacute infarct; encephalitis. A single slice with contrast rarely settles "
                    "it.",
                ),
            ),
        ),
        (
            _WHO,
            _CBTRUS,
            Source(
                "Weller M et al. EANO guidelines on the diagnosis and treatment of diffuse gliomas of adulthood. "
                "Nature Reviews Clinical Oncology 2021;18:170–186.",
                "10.1038/s41571-020-00447-z",
            ),
            Source(
                "Patel SH et al. T2–FLAIR Mismatch, an Imaging Biomarker for IDH and 1p/19q Status in Lower-grade "
                "Gliomas. Clinical Cancer Research 2017;23:6078–6085.",
                "10.1158/1078-0432.CCR-17-0560",
            ),
            _CHENG,
        ),
    ),
    Page(
        "meningioma",
        (
            (
                "What it is",
                (
                    "A tumour of the meninges, thought to arise from cap cells of the arachnoid. It grows from "
                    "outside and pushes the brain away. WHO 2021 keeps one type with 15 subtypes and three grades: "
                    "about four in five are grade 1, most others grade 2, few grade 3. Molecular findings now count: "
                    "a TERT promoter mutation or homozygous loss of CDKN2A/B makes a meningioma grade 3 whatever its "
                    "histology.",
                ),
            ),
            (
                "Who gets it",
                (
                    "The most frequent primary intracranial tumour: about two in five in the United States registry, "
                    "and more than half of those that are not malignant. More often in women, roughly two to one; "
                    "frequency rises with age. Ionising radiation to the head and NF2-related schwannomatosis "
                    "(formerly neurofibromatosis type 2) raise the risk, and so does prolonged use of some "
                    "progestogens. Many are found by chance, and many of these need watching only.",
                ),
            ),
            (
                "Where",
                (
                    "Outside the brain (extra-axial), on a broad base along the dura: convexity, falx and "
                    "parasagittal, sphenoid wing, olfactory groove, tuberculum sellae, cerebellopontine angle, "
                    "tentorium, foramen magnum. Rarely within a ventricle. Also in the spine.",
                ),
            ),
            (
                "On MRI",
                (
                    "T1: close to grey matter, so that it may be missed without contrast. T2 and FLAIR: variable; "
                    "oedema of the brain beside it may be large or absent. T1 with contrast: strong, mostly "
                    "homogeneous enhancement, often with a dural tail, which is typical but not specific.",
                    "Look for what proves that it lies outside the brain: a cleft of cerebrospinal fluid, displaced "
                    "vessels, cortex between tumour and white matter. Thickened bone (hyperostosis) beside it and "
                    "calcification, both better seen on CT, support the diagnosis. An indistinct border to the brain, "
                    "necrosis or bone destruction raises the suspicion of a higher grade; imaging does not settle the "
                    "grade.",
                ),
            ),
            (
                "What mimics it",
                (
                    "Dural metastasis (breast and prostate above all), solitary fibrous tumour, lymphoma, "
                    "sarcoidosis. At the cerebellopontine angle, vestibular schwannoma; at the sella, a pituitary "
                    "tumour: look for the gland itself, apart from the mass; and an aneurysm.",
                ),
            ),
        ),
        (
            _WHO,
            _CBTRUS,
            Source(
                "Goldbrunner R et al. EANO guideline on the diagnosis and management of meningiomas. Neuro-Oncology "
                "2021;23:1821–1834.",
                "10.1093/neuonc/noab150",
            ),
            Source(
                "Roland N et al. Use of progestogens and the risk of intracranial meningioma: national case-control "
                "study. BMJ 2024;384:e078078.",
                "10.1136/bmj-2023-078078",
            ),
            _CHENG,
        ),
    ),
    Page(
        "pituitary",
        (
            (
                "What it is",
                (
                    "In these data: tumours of the anterior pituitary, that is, pituitary adenoma, now also called "
                    "pituitary neuroendocrine tumour (PitNET). They are classified by cell lineage, shown by "
                    "transcription factors (PIT1, TPIT, SF1) and hormones. Below 10 mm it is a microadenoma, from 10 "
                    "mm a macroadenoma. Most never metastasise. Whether they secrete decides much of the treatment: "
                    "prolactin, growth hormone, ACTH, rarely TSH or gonadotrophins, or nothing that is noticed.",
                ),
            ),
            (
                "Who gets it",
                (
                    "About one in six primary tumours in brain registries. Far more are never noticed: pooled autopsy "
                    "and imaging series found one in about one person in six. They come to light through hormones "
                    "(amenorrhoea, galactorrhoea, acromegaly, Cushing's disease), through pressure (bitemporal "
                    "hemianopia, headache, hypopituitarism), by chance, or suddenly through bleeding or infarction "
                    "(apoplexy).",
                ),
            ),
            (
                "Where",
                (
                    "In the sella. It grows upwards to the optic chiasm, with a waist at the diaphragm (“snowman”), "
                    "sideways into the cavernous sinus, downwards into the sphenoid sinus. Sagittal and coronal "
                    "slices show it best.",
                ),
            ),
            (
                "On MRI",
                (
                    "T1: similar to the gland or darker; bright after bleeding. The bright spot of the posterior lobe "
                    "is normal. T2: variable; some tumours that secrete growth hormone are dark. T1 with contrast: "
                    "the normal gland enhances early and strongly; a microadenoma less and later, so that dynamic "
                    "thin slices are needed; a macroadenoma enhances throughout, or around cysts and old blood.",
                    "Describe the size, the distance to the chiasm, where the normal gland and the stalk are, and the "
                    "cavernous sinuses (Knosp's grades).",
                ),
            ),
            (
                "What mimics it",
                (
                    "Rathke's cleft cyst; craniopharyngioma (cysts, calcification, above the sella); meningioma of "
                    "the tuberculum sellae; hypophysitis; germinoma; metastasis; enlargement of the normal gland in "
                    "pregnancy, puberty or untreated hypothyroidism. An aneurysm of the carotid artery must be "
                    "excluded before anybody operates.",
                ),
            ),
        ),
        (
            Source(
                "Asa SL, Mete O, Perry A, Osamura RY. Overview of the 2022 WHO Classification of Pituitary Tumors. "
                "Endocrine Pathology 2022;33:6–26.",
                "10.1007/s12022-022-09703-7",
            ),
            Source(
                "Tsukamoto T, Miki Y. Imaging of pituitary tumors: an update with the 5th WHO Classifications, part "
                "1. Japanese Journal of Radiology 2023;41:789–806.",
                "10.1007/s11604-023-01400-7",
            ),
            Source(
                "Ezzat S et al. The prevalence of pituitary adenomas: a systematic review. Cancer 2004;101:613–619.",
                "10.1002/cncr.20412",
            ),
            Source(
                "Freda PU et al. Pituitary incidentaloma: an Endocrine Society clinical practice guideline. Journal "
                "of Clinical Endocrinology and Metabolism 2011;96:894–904.",
                "10.1210/jc.2010-1048",
            ),
            _CBTRUS,
            _CHENG,
        ),
    ),
    Page(
        "notumor",
        (
            (
                "What it means here",
                (
                    "Not “normal”, and not “healthy”. It is what remains when a network sees nothing like the three "
                    "tumours it was shown. A metastasis, an abscess, a bleed or an infarct has no answer of its own: "
                    "it gets one of the four. A slice without tumour says nothing about the slice next to it.",
                ),
            ),
            (
                "What the networks learnt it from",
                (
                    "From slices of other sources and sequences than the tumours: T2, FLAIR, T1, even some CT, a few "
                    "of them with other lesions. The tumour slices are nearly all T1 with contrast. A network can "
                    "tell the two apart by the kind of picture alone, without finding any tumour. So its high score "
                    "for this class deserves the least trust, and on a slice of another sequence than T1 with "
                    "contrast the answer “no tumour” deserves least of all. And the other way round: asked "
                    "about whole scans of T1 with contrast, they name a tumour on most slices without one too.",
                    "The training images of this class show few different slices, many of them edited into dozens of "
                    "copies; the project's audit counts them.",
                ),
            ),
            (
                "What is normal on a slice with contrast",
                (
                    "These enhance without disease: the pituitary gland and its stalk, the pineal gland, the choroid "
                    "plexus, the venous sinuses and veins, the nasal mucosa, and thinly the dura. Calcified choroid "
                    "plexus and pineal gland are ordinary in adults.",
                ),
            ),
            (
                "What is found by chance",
                (
                    "Among 2,000 people of the general population, mean age 63, MRI showed silent infarcts in 7.2 %, "
                    "aneurysms in 1.8 % and benign tumours, mainly meningiomas, in 1.6 %. No tumour where you looked "
                    "for one is not the end of the reading.",
                ),
            ),
            (
                "What hides a tumour",
                (
                    "A slice beside it; no contrast medium (a small meningioma, a microadenoma); a wrong window; "
                    "blooming or movement; the edge of the picture; and the search that ends with the first finding.",
                ),
            ),
        ),
        (
            Source(
                "Vernooij MW et al. Incidental Findings on Brain MRI in the General Population. New England Journal "
                "of Medicine 2007;357:1821–1828.",
                "10.1056/NEJMoa070972",
            ),
            Source(
                "Morris Z et al. Incidental findings on brain magnetic resonance imaging: systematic review and "
                "meta-analysis. BMJ 2009;339:b3016.",
                "10.1136/bmj.b3016",
            ),
            Source(
                "Nickparvar M. Brain Tumor MRI Dataset. Kaggle 2021. (The slices without tumour come from here.)",
                "10.34740/kaggle/dsv/2645886",
            ),
            _CHENG,
        ),
    ),
)
PAGES = {page.label: page for page in _PAGES}
