"""The wordings of the phantom's reports, in the field's language. The first wording of each list is the plain one.

Slots: ``{size}`` and ``{degree}`` (adverb) of the finding, ``{side}``, ``{place}``. A line that starts with a slot is
capitalised, and ``a`` becomes ``an``, when the sentence is put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Wordings = Sequence[str]

SIZE_WORDS: Mapping[str, Mapping[str, Wordings]] = {
    "extent": {
        "small": ("small", "small", "trace", "tiny"),
        "moderate": ("moderate", "moderate", "moderate-sized", "medium-sized"),
        "large": ("large", "large", "massive", "sizable"),
    },
    "severity": {
        "mild": ("mild", "mild", "slight"),
        "moderate": ("moderate",),
        "severe": ("severe", "severe", "marked"),
    },
    "density": {"patchy": ("patchy", "patchy", "ill-defined"), "dense": ("dense", "dense", "confluent")},
    "leads": {"single lead": ("single-lead", "single-chamber"), "dual lead": ("dual-lead", "dual-chamber")},
    "offset": {"displaced": ("displaced",), "nondisplaced": ("nondisplaced", "non-displaced")},
}
"""Scale -> size as in ``Finding.size`` -> its words."""

SCALE_OF: Mapping[str, str] = {
    "effusion": "extent",
    "pneumothorax": "extent",
    "cardiomegaly": "severity",
    "edema": "severity",
    "consolidation": "density",
    "pacemaker": "leads",
    "fracture": "offset",
}

PLACE_WORDS: Mapping[str, Mapping[str, Wordings]] = {
    "consolidation": {
        "upper lobe": ("upper lobe",),
        "middle lobe": ("middle lobe",),
        "lower lobe": ("lower lobe", "lower lobe", "lung base", "base"),
        "lingula": ("lingula",),
    },
    "nodule": {
        "upper zone": ("upper lung", "upper lung zone", "upper zone"),
        "mid zone": ("mid lung", "mid lung zone", "mid zone"),
        "lower zone": ("lower lung", "lower lung zone", "lower zone"),
    },
    "central_line": {
        "superior vena cava": ("superior vena cava", "SVC"),
        "cavoatrial junction": ("cavoatrial junction", "atriocaval junction"),
        "right atrium": ("right atrium",),
    },
    "chest_tube": {"apex": ("apex", "lung apex"), "base": ("base", "lung base")},
}
"""Kind -> place as in ``Finding.place`` -> its words. A rib is put together from its parts instead."""

STATEMENTS: Mapping[str, Wordings] = {
    "cardiomegaly": (
        "The heart is {degree} enlarged.",
        "There is {size} cardiomegaly.",
        "{size} cardiomegaly is present.",
        "{size} cardiomegaly.",
        "The cardiac silhouette is {degree} enlarged.",
        "{size} enlargement of the cardiac silhouette.",
        "Heart size is {degree} enlarged.",
        "The cardiomediastinal silhouette is {degree} enlarged.",
        "There is {size} enlargement of the heart.",
    ),
    "effusion": (
        "There is a {size} {side} pleural effusion.",
        "{size} {side} pleural effusion is present.",
        "{size} {side}-sided pleural effusion.",
        "A {size} pleural effusion is seen on the {side}.",
        "Blunting of the {side} costophrenic angle is consistent with a {size} pleural effusion.",
        "{size} layering effusion in the {side} pleural space.",
        "The {side} hemidiaphragm is obscured by a {size} effusion.",
        "There is a {size} amount of pleural fluid on the {side}.",
        "A {size} {side} effusion is noted.",
    ),
    "effusion both": (
        "There are {size} bilateral pleural effusions.",
        "{size} bilateral pleural effusions are present.",
        "{size} pleural effusions are seen on both sides.",
        "Both costophrenic angles are blunted by {size} effusions.",
        "{size} bilateral effusions.",
    ),
    "edema": (
        "There is {size} pulmonary edema.",
        "{size} pulmonary edema is present.",
        "{size} interstitial pulmonary edema.",
        "Perihilar haziness reflects {size} pulmonary edema.",
        "The pulmonary vasculature is indistinct in keeping with {size} edema.",
        "{size} pulmonary edema with septal lines.",
        "Findings are those of {size} edema.",
    ),
    "consolidation": (
        "There is {size} consolidation in the {side} {place}.",
        "{size} consolidation is seen in the {side} {place}.",
        "{size} airspace opacity in the {side} {place}.",
        "{size} airspace disease is present in the {side} {place}.",
        "Within the {side} {place} there is {size} consolidation.",
        "{size} consolidation with air bronchograms in the {side} {place}.",
        "{size} {side} {place} consolidation.",
    ),
    "consolidation both": (
        "There is {size} consolidation in both {place}s.",
        "{size} consolidation is seen in both {place}s.",
        "{size} bilateral {place} consolidation.",
        "{size} airspace opacities in both {place}s.",
    ),
    "pneumothorax": (
        "There is a {size} {side} pneumothorax.",
        "{size} {side} pneumothorax is present.",
        "{size} {side} apical pneumothorax.",
        "A {size} pneumothorax is noted on the {side}.",
        "A visceral pleural line is seen in keeping with a {size} {side} pneumothorax.",
        "{size} {side}-sided pneumothorax without mediastinal shift.",
    ),
    "nodule": (
        "There is a {size} nodule in the {side} {place}.",
        "A {size} pulmonary nodule projects over the {side} {place}.",
        "A {size} nodular opacity is seen in the {side} {place}.",
        "{side} {place} nodule measuring {size}.",
        "A rounded {size} nodule overlies the {side} {place}.",
        "{size} nodular density in the {side} {place}.",
    ),
    "fracture": (
        "There is a {size} fracture of the {side} {place}.",
        "{size} fracture of the {side} {place}.",
        "A {size} {side} {place} fracture is seen.",
        "The {side} {place} shows a {size} fracture.",
        "{side} {place} fracture which is {size}.",
    ),
    "pacemaker": (
        "A {side} {size} pacemaker is in place.",
        "{side}-sided {size} pacemaker.",
        "There is a {size} pacemaker over the {side} chest.",
        "A {size} pacemaker overlies the {side} chest wall.",
        "{side} pectoral {size} pacemaker is unchanged.",
    ),
    "central_line": (
        "A {side} central venous catheter ends in the {place}.",
        "{side} central venous line with its tip in the {place}.",
        "The tip of the {side} central line projects over the {place}.",
        "{side}-sided central venous catheter terminates in the {place}.",
        "The {side} central catheter tip lies in the {place}.",
    ),
    "endotracheal_tube": (
        "The endotracheal tube ends {size} above the carina.",
        "Endotracheal tube tip is {size} above the carina.",
        "An endotracheal tube is in place with its tip {size} above the carina.",
        "The tip of the endotracheal tube projects {size} above the carina.",
        "ET tube terminates {size} above the carina.",
    ),
    "chest_tube": (
        "A {side} chest tube ends at the {place}.",
        "{side} chest tube with its tip at the {place}.",
        "{side}-sided thoracostomy tube ends at the {place}.",
        "A {side} pleural drain is directed towards the {place}.",
    ),
    "sternal_wires": (
        "Median sternotomy wires are intact.",
        "Sternotomy wires are noted.",
        "Sternal wires are aligned and intact.",
        "The patient is status post median sternotomy.",
    ),
}
"""Kind (with `` both`` where it differs) -> sentences that state it with everything ``Finding`` holds."""

ABSENCES: Mapping[tuple[str, ...], Wordings] = {
    ("cardiomegaly",): (
        "Heart size is normal.",
        "The heart is normal in size.",
        "The cardiac silhouette is within normal limits.",
        "The cardiomediastinal silhouette is unremarkable.",
        "The heart is not enlarged.",
        "Heart size and mediastinal contours are normal.",
        "No cardiomegaly.",
    ),
    ("consolidation", "edema", "nodule"): (
        "The lungs are clear.",
        "Lungs are clear bilaterally.",
        "The lungs are well expanded and clear.",
        "The lungs are clear without focal consolidation.",
        "No consolidation, nodule or edema.",
        "There is no suspicious nodule or focal airspace opacity.",
    ),
    ("consolidation", "edema"): (
        "No focal consolidation or pulmonary edema.",
        "No focal airspace opacity.",
        "There is no edema or consolidation.",
    ),
    ("consolidation",): (
        "No focal consolidation.",
        "There is no focal airspace disease.",
        "No consolidation is seen.",
        "Focal consolidation is not identified.",
    ),
    ("edema",): ("No pulmonary edema.", "There is no edema.", "Pulmonary vasculature is normal."),
    ("effusion", "pneumothorax"): (
        "No pleural effusion or pneumothorax.",
        "There is no pneumothorax or pleural effusion.",
        "No effusion or pneumothorax is seen.",
        "The pleural spaces are clear.",
        "Neither pleural effusion nor pneumothorax is seen.",
        "The costophrenic angles are sharp.",
        "Negative for pneumothorax or effusion.",
    ),
    ("effusion",): (
        "No pleural effusion.",
        "There is no pleural effusion.",
        "Pleural effusion is not seen.",
        "No effusion is present.",
    ),
    ("pneumothorax",): (
        "No pneumothorax.",
        "There is no pneumothorax.",
        "Pneumothorax is not identified.",
        "No evidence of pneumothorax.",
    ),
    ("consolidation", "effusion", "pneumothorax"): (
        "No focal consolidation, pleural effusion or pneumothorax.",
        "There is no consolidation, pneumothorax or pleural effusion.",
        "The lungs are clear without effusion or pneumothorax.",
    ),
    ("fracture",): (
        "No acute bony abnormality.",
        "The osseous structures are intact.",
        "The visualized bones are unremarkable.",
        "No acute fracture.",
        "No displaced rib fracture is seen.",
    ),
}
"""Kinds that are all absent -> sentences that say so, or that say the place is normal."""

MEDIASTINUM: Wordings = (
    "The mediastinal contours are normal.",
    "Mediastinal and hilar contours are unremarkable.",
    "The mediastinum is midline.",
    "The aorta is unremarkable.",
)

SUMMARIES: Mapping[str, Wordings] = {
    "cardiomegaly": ("Cardiomegaly.", "{size} cardiomegaly.", "Enlarged heart."),
    "effusion": ("{side} pleural effusion.", "{size} {side} pleural effusion.", "{side} effusion."),
    "effusion both": ("Bilateral pleural effusions.", "{size} bilateral pleural effusions."),
    "edema": ("Pulmonary edema.", "{size} pulmonary edema."),
    "consolidation": ("{side} {place} consolidation.", "{side} {place} pneumonia.", "{size} {side} {place} opacity."),
    "consolidation both": ("Consolidation in both {place}s.", "Bilateral {place} pneumonia."),
    "pneumothorax": ("{side} pneumothorax.", "{size} {side} pneumothorax."),
    "nodule": (
        "{side} {place} nodule.",
        "{size} nodule in the {side} lung, for which chest CT is recommended.",
        "Pulmonary nodule in the {side} {place}.",
    ),
    "fracture": ("{side} rib fracture.", "Fracture of the {side} {place}."),
}
"""How the impression names a disease; it may leave details out."""

NO_DISEASE: Wordings = (
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary process.",
    "No acute disease.",
    "No radiographic evidence of acute cardiopulmonary disease.",
)

PHRASE_WORDS: Mapping[str, tuple[str, Wordings]] = {
    "portable": ("findings", ("Portable technique.", "This is a portable examination.", "Portable view of the chest.")),
    "rotated": ("findings", ("The patient is slightly rotated.", "Patient rotation is noted.")),
    "degenerative": (
        "findings",
        ("Degenerative changes are seen in the spine.", "There are degenerative changes of the thoracic spine."),
    ),
    "comparison": (
        "findings",
        ("No significant change from the prior study.", "Compared with the prior study there is no relevant change."),
    ),
    "fall": ("indication", ("Status post fall.", "Fall.")),
    "cough": ("indication", ("Productive cough.", "Cough for two weeks.")),
}
"""Name of a harmless phrase -> the section it stands in, and its wordings."""

COMPLAINTS: Wordings = (
    "Shortness of breath.",
    "Chest pain.",
    "Fever.",
    "{age}-year-old {person} with chest pain.",
    "{age}-year-old {person} with shortness of breath.",
    "{age}-year-old {person} with fever.",
    "Preoperative evaluation.",
    "Evaluation before discharge.",
    "Dyspnea on exertion.",
    "Routine follow-up.",
)
"""Why the study was asked for; drawn without regard to the findings."""
