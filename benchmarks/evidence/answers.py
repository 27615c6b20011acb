"""What each page of docs/evidence/ asks, compares and answers.

The answers are written by hand from the tables that stand below them on the page, and are read
again when more cells have run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import question_tables
from mixing import costs, led

from convtimenet.bench.matrix import Matrix
from convtimenet.bench.report.document import Picture, Table

Line = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Variants beside a reference, as ``model.variant``, and how the page calls them."""

    name: str
    title: str
    reference: str
    names: Mapping[str, str]
    forecasts: bool = False
    """Whether forecasting cells are compared, or those of classification."""
    tokens: bool = False
    """Whether sets are shown with the number of tokens that the kernels read."""

    @property
    def others(self) -> tuple[str, ...]:
        """All but the reference."""
        return tuple(who for who in self.names if who != self.reference)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One page."""

    title: str
    question: str
    answer: Sequence[str]
    cells: int
    """How many cells had run when the answer was written; a test asks for it to be read again where
    there are more."""
    comparisons: Sequence[Comparison] = ()
    shown: Sequence[Callable[[Matrix, Mapping[str, Line]], Table | Picture]] = field(
        default_factory=tuple
    )


QUESTIONS: dict[str, Question] = {
    "offsets": Question(
        title="Do deformable patches help?",
        question=(
            "The paper says that patches which move and widen with the data (section 3.2) "
            "carry more than uniform ones. Here the same network is trained with and without "
            "offsets, on the same splits with the same seeds; in forecasting also with the "
            "authors' initialisation, under which the offsets never depend on the data (SPEC "
            "section 6)."
        ),
        cells=177,
        answer=[
            "Not where it was measured. In classification uniform patches are as good on the two "
            "sets that the paper shows this on, ArticularyWordRecognition (+0.1 points, -0.2 to "
            "+0.5) and Cricket (-0.3, -2.2 to +1.6), and on JapaneseVowels, Epilepsy and "
            "BasicMotions (within 0.3 points). ERing and SelfRegulationSCP1 leave more room: -0.2 "
            "(-4.5 to +4.0) and -4.4 (-14.7 to +5.8), both with 0 inside. FingerMovements and "
            "HandMovementDirection say nothing: every model is near chance on the first, and its "
            "seeds differ by ten points on the second. Over the sets of the paper's settings "
            "without FingerMovements the difference is -0.1 (-0.4 to +0.2), over the others -1.2 "
            "(-4.6 to +2.2).",
            "In forecasting, offsets that can never depend on the data (as in the authors' code) "
            "are as good as live ones: +0.2 % MSE over seven rows (-2.1 to +2.5). Uniform patches "
            "are 1.3 % behind (-0.7 to +3.4). Of fourteen intervals three exclude 0: on ILI at 24 "
            "weeks dead offsets have 2.6 % less error than live ones (-5.0 to -0.2), on Exchange "
            "dead and uniform ones have 0.2 and 0.3 % more. They point to opposite sides; chance "
            "alone would make less than one.",
        ],
        comparisons=[
            Comparison(
                name="paper",
                title="Classification, the paper's settings",
                reference="classifier.deformable",
                names={"classifier.deformable": "deformable", "classifier.uniform": "uniform"},
            ),
            Comparison(
                name="auto",
                title="Classification, default settings",
                reference="classifier.deformable-auto",
                names={
                    "classifier.deformable-auto": "deformable",
                    "classifier.uniform-auto": "uniform",
                },
            ),
            Comparison(
                name="forecasts",
                title="Forecasting, the paper's settings",
                forecasts=True,
                reference="forecaster.live",
                names={
                    "forecaster.live": "live",
                    "forecaster.dead": "dead",
                    "forecaster.uniform": "uniform",
                },
            ),
        ],
    ),
    "ablation": Question(
        title="What is each part of the default worth?",
        question=(
            "The default forecaster is a linear map of the context, one for each channel where "
            "that is better, with a context chosen on the training rows, and a network beside it. "
            "The default classifier mixes random patches with a network that is trained with "
            "augmentation. Here parts are left out."
        ),
        cells=102,
        answer=[
            "Maps of channels matter where channels differ in kind: with one map for all of them "
            "the squared error is 21 % higher on Weather and 5 % on ETTm1 and ILI; on ETTh1, ETTh2 "
            "and Exchange nothing changes. The context matters on ILI, where 104 weeks instead of "
            "336 are worth another quarter. Over six sets the intervals of both contain 0: one "
            "set carries each effect.",
            "The network needs the map beside it: alone it has 3 to 5 % more squared error on "
            "ETTh1, ETTh2 and Exchange and 26 % more on ILI. Trained on squared errors it is "
            "granted nothing on ETTh1, ETTh2 and Exchange, whose forecasts are then the map's: as "
            "good on ETTh1 and Exchange and 2.9 % better on ETTh2, where the share that the "
            "network trained on absolute errors gets is a mistake. On ILI squared errors give "
            "5.0 % less MSE (-13.8 to +3.8 %) and 1.6 % more MAE.",
            "For classes random patches carry ERing (98.6 against 90.0 % of the network alone) "
            "and Epilepsy (100.0 against 98.3 %), the network HandMovementDirection (45.9 against "
            "36.9 %) and JapaneseVowels (98.9 against 97.6 %); the mixture has nearly the better "
            "of the two each time (98.3, 100.0, 44.1 and 98.7 %). Only ERing and Epilepsy are "
            "told apart by three seeds. Augmentation is worth 8.1 points to the network alone on "
            "HandMovementDirection, 1.7 on Epilepsy, 1.4 on ERing and nothing on JapaneseVowels.",
        ],
        comparisons=[
            Comparison(
                name="maps",
                title="Forecasting with the linear map alone",
                forecasts=True,
                reference="convtimenet.fast",
                names={
                    "convtimenet.fast": "the default map",
                    "convtimenet.one-map": "one map for all channels",
                    "convtimenet.one-map-336": "and a context of 336",
                },
            ),
            Comparison(
                name="recipe",
                title="Forecasting with the network",
                forecasts=True,
                reference="convtimenet.auto",
                names={
                    "convtimenet.auto": "network and map",
                    "convtimenet.squared": "trained on squared errors",
                    "convtimenet.network": "network alone",
                },
            ),
            Comparison(
                name="classes",
                title="Classification",
                reference="classifier.auto",
                names={
                    "classifier.auto": "both",
                    "classifier.fast": "random patches alone",
                    "classifier.network": "network alone",
                    "classifier.plain": "and not augmented",
                },
            ),
        ],
    ),
    "attention": Question(
        title="Convolution block or Transformer encoder block?",
        question=(
            "The paper replaces its convolution block by a Transformer encoder block and "
            "reports worse forecasts on ETTh1. Here every block is replaced by torch's encoder"
            " layer of the same widths and dropout, with a learnable position embedding before"
            " the first; embedding, head, training and seeds are the same."
        ),
        cells=23,
        answer=[
            "Attention is worse, as the paper says. It has more MSE in all ten runs, of two "
            "seeds and at 336 and 720 steps three: by 0.2 and 2.3 % at 96 steps, 4.7 and 5.4 at "
            "192, 4.0, 6.7 and 3.2 at 336, 4.6, 10.3 and 2.9 at 720. Over the four horizons, "
            "which share their training rows, that is +4.2 % with an interval of +0.9 to +7.5, "
            "which does not hold 0; without positions it is as bad at 96 steps, in one run.",
            "Two or three seeds give wide intervals for one horizon: those of 192 and 336 steps "
            "do not hold 0, those of 96 and 720 do. The convolution's own three seeds differ by "
            "a deviation of 0.9 % of its MSE at 96 steps and of less at the others.",
            "Cost is not compared here: the runs were made on several kinds of processor, with "
            "other numbers of epochs, and the encoder layer was kept from torch's fused "
            "attention so that its multiply-adds could be counted.",
            "What this cannot exclude: that attention wants another learning rate. At 336 and "
            "720 steps its best epoch is the first one in every run, that of the convolution "
            "the second to sixth; both have the paper's recipe for its own network. A third "
            "seed at 96 and 192 steps is not run.",
        ],
        comparisons=[
            Comparison(
                name="blocks",
                title="ETTh1",
                forecasts=True,
                reference="convolution.paper",
                names={
                    "convolution.paper": "convolution",
                    "attention.positions": "attention",
                    "attention.plain": "attention without positions",
                },
            )
        ],
    ),
    "hierarchy": Question(
        title="Kernels that grow with depth",
        question=(
            "The paper grows kernels from 7 to 13 to 19 over three stages. Does growth matter,"
            " or only depth and reach?"
        ),
        cells=126,
        answer=[
            "Growth does not matter, as far as these sets tell; reach may. On the four sets with "
            "the paper's settings every arrangement is within 1.0 point of 7 13 19 "
            "(FingerMovements, near chance, left out), but there it hardly could differ: "
            "ArticularyWordRecognition has 9 tokens and JapaneseVowels 13, so a kernel of 13 or "
            "two of 7 see nearly all of them, and Epilepsy, with 103, is close to 100 % with all.",
            "Two sets of 32 and 28 tokens leave more room, ERing and SelfRegulationSCP1, trained "
            "with the default's widths. One stage of 7 is 4.9 and 4.6 points behind 7 13 19 there "
            "(both sets: -4.7, -7.2 to -2.3), 7 13 is 2.7 and 3.1 behind (-2.9, -5.2 to -0.6). "
            "Kernels of 13 or 19 in all stages are level with growing ones (+0.3 and +0.1), and "
            "shrinking ones not clearly behind (-2.0). Each set's own intervals contain 0 with "
            "three seeds, and two sets are few; that both agree to half a point is partly chance.",
            "Three stages of 7 have one run on SelfRegulationSCP1 that did not learn (67.9 with a "
            "deviation of 15.6), which says more about that run. FingerMovements is one token: "
            "there all kernels are the same function, and its differences of up to 6.3 points are "
            "what seeds do.",
        ],
        comparisons=[
            Comparison(
                name="stages",
                tokens=True,
                title="Kernel sizes and stages",
                reference="classifier.grow-3",
                names={
                    "classifier.grow-3": "7 13 19",
                    "classifier.grow-1": "7",
                    "classifier.grow-2": "7 13",
                    "classifier.all-7": "7 7 7",
                    "classifier.all-13": "13 13 13",
                    "classifier.all-19": "19 19 19",
                    "classifier.shrink": "19 13 7",
                },
            ),
            Comparison(
                name="stages-auto",
                title="Kernel sizes and stages, the default's widths",
                tokens=True,
                reference="classifier.grow-3-auto",
                names={
                    "classifier.grow-3-auto": "7 13 19",
                    "classifier.grow-1-auto": "7",
                    "classifier.grow-2-auto": "7 13",
                    "classifier.all-7-auto": "7 7 7",
                    "classifier.all-13-auto": "13 13 13",
                    "classifier.all-19-auto": "19 19 19",
                    "classifier.shrink-auto": "19 13 7",
                },
            ),
        ],
    ),
    "residual": Question(
        title="How should residual branches be scaled?",
        question=(
            "The paper scales each residual branch by one learnable number (from 1e-8 in "
            "forecasting, from 0.5 in classification). Beside it: no scale, ReZero (from 0), "
            "LayerScale (a number per width, from 1e-4), and 0.5 fixed."
        ),
        cells=105,
        answer=[
            "The choice hardly matters where it was measured. In forecasting, ReZero is the "
            "learnable scale (both start at or next to 0: less than 0.1 % apart), and neither "
            "plain (-0.4 %, -7.8 to +6.9) nor LayerScale (+1.1 %, -6.7 to +9.0) can be told from "
            "it.",
            "A fixed 0.5 has the lowest mean MSE in all three rows (-4.4 % on average, -14.0 to "
            "+5.1) and the smallest spread between seeds. That is a hint against starting at 1e-8 "
            "when training is as short as the paper's 10 epochs, not a proof.",
            "In classification all five lie within 0.7 points on each of JapaneseVowels, "
            "ArticularyWordRecognition and Epilepsy, which is two or three of some three hundred "
            "test cases. Over these sets plain is 0.2 points behind the learnable scale (-0.3 to "
            "-0.1, about half a case a set), LayerScale 0.5 (-1.0 to +0.1), ReZero 0.4 (-1.4 to "
            "+0.5) and a fixed 0.5 level. FingerMovements is near chance and decides nothing.",
        ],
        comparisons=[
            Comparison(
                name="classes",
                title="Classification",
                reference="residual.learnable",
                names={
                    "residual.learnable": "learnable",
                    "residual.plain": "plain",
                    "residual.rezero": "ReZero",
                    "residual.layerscale": "LayerScale",
                    "residual.fixed": "fixed 0.5",
                },
            ),
            Comparison(
                name="forecasts",
                title="Forecasting",
                forecasts=True,
                reference="residual.learnable",
                names={
                    "residual.learnable": "learnable",
                    "residual.plain": "plain",
                    "residual.rezero": "ReZero",
                    "residual.layerscale": "LayerScale",
                    "residual.fixed": "fixed 0.5",
                },
            ),
        ],
    ),
    "kernels": Question(
        title="Reparameterisation, and large against small kernels",
        question=(
            "Each large kernel is trained with a kernel of three beside it and merged "
            "afterwards. Does that help? And do few large kernels beat more small ones of the "
            "same receptive field (72 tokens: 6 of 13, 12 of 7, 2 of 37)?"
        ),
        cells=120,
        answer=[
            "The small kernel beside each large one made no difference that three seeds can tell. "
            "Without it accuracy changes by -0.1 points over three sets with the paper's settings "
            "(-1.3 to +1.1), by +2.1 and +0.6 on two more (each interval holds 0), and MSE by "
            "-0.6 % over five rows (-2.3 to +1.1).",
            "Large against small kernels of equal reach: no difference where there are few tokens "
            "or nothing left to gain, and one where there is. On JapaneseVowels, "
            "ArticularyWordRecognition (13 and 9 tokens) and Epilepsy 6 kernels of 13, 12 of 7 "
            "and 2 of 37 lie within 0.4 points. On ERing (32 tokens) 12 of 7 are 6.0 points "
            "behind 6 of 13 (-9.5 to -2.6), on SelfRegulationSCP1 (28 tokens) 3.5 behind (-6.7 to "
            "-0.3). That points to their depth, not their size, as twelve layers have 30 to 270 "
            "training cases there: 2 of 37 are no better than 6 of 13, 0.4 behind on ERing (-3.1 "
            "to +2.4) and 1.8 on SelfRegulationSCP1 (-13.3 to +9.7).",
            "FingerMovements is one token, where all kernels are the same function, and near "
            "chance: it decides nothing.",
        ],
        comparisons=[
            Comparison(
                name="small",
                tokens=True,
                title="With and without the small kernel, classification",
                reference="classifier.with-small",
                names={"classifier.with-small": "with", "classifier.without": "without"},
            ),
            Comparison(
                name="forecasts",
                title="With and without the small kernel, forecasting",
                forecasts=True,
                reference="forecaster.with-small",
                names={"forecaster.with-small": "with", "forecaster.without": "without"},
            ),
            Comparison(
                name="sizes",
                tokens=True,
                title="Equal receptive field",
                reference="classifier.large-6",
                names={
                    "classifier.large-6": "6 of 13",
                    "classifier.small-12": "12 of 7",
                    "classifier.one-37": "2 of 37",
                },
            ),
            Comparison(
                name="small-auto",
                title="With and without the small kernel, the default's widths",
                tokens=True,
                reference="classifier.with-small-auto",
                names={
                    "classifier.with-small-auto": "with",
                    "classifier.without-auto": "without",
                },
            ),
            Comparison(
                name="sizes-auto",
                title="Equal receptive field, the default's widths",
                tokens=True,
                reference="classifier.large-6-auto",
                names={
                    "classifier.large-6-auto": "6 of 13",
                    "classifier.small-12-auto": "12 of 7",
                    "classifier.one-37-auto": "2 of 37",
                },
            ),
        ],
    ),
    "few-cases": Question(
        title="Few training cases, regularisation and stopping",
        question=(
            "How much is lost with 10, 25 or 50 % of the training cases, and do dropout or the"
            " stopping rule change that? Rules: best, the validation split's best epoch, then "
            "a training on all cases for as many; patience, the same but stopping after 10 "
            "epochs without a better one; last, no validation split and the last epoch."
        ),
        cells=432,
        answer=[
            "A tenth of the training cases costs 6 points of accuracy on JapaneseVowels (27 cases "
            "left of 270), a quarter 2 and half of them 1. On Epilepsy (137 cases) a quarter "
            "costs 8 points and half of them 2 with the better rules; on "
            "ArticularyWordRecognition (275 cases of 25 classes) a tenth scores 73 %, a quarter "
            "89, half of them 96 and all of them 98 %.",
            "The stopping rule matters on Epilepsy with 14 and 35 cases, and on FingerMovements "
            "with all of its 316. On Epilepsy keeping the last epoch scores "
            "81.7 and 90.0 % (deviations of 8.0 and 2.4 over nine runs), "
            "the validation split's best epoch 69.5 and 89.4 % (13.5 and 1.9), and patience 46.1 "
            "and 56.2 % (11.2 and 31.5): some of its runs stop on the plateau that so few "
            "held-out cases make, others do not. On FingerMovements the last epoch scores 61.0 % "
            "(2.9) with all cases, the best and patience 53.9 (3.7), and it is ahead in each of "
            "nine runs; with fewer cases all rules are near chance there. On the other sets the "
            "rules differ by less than a point from half of the cases on, on JapaneseVowels and "
            "ArticularyWordRecognition at any size.",
            "Dropout helps in one place and costs a little in another. On Epilepsy with 35 cases "
            "0.4 is 3.9 and 4.4 points ahead of none, with the best and the last epoch, in all "
            "three seeds; on JapaneseVowels with half of the cases it is 0.3 to 1.0 points "
            "behind, by rule. Elsewhere the means differ by less than the seeds do.",
        ],
        shown=[
            question_tables.few_cases,
            question_tables.dropouts,
            question_tables.few_cases_drawn,
        ],
    ),
    "ten-cases": Question(
        title="Ten labelled cases a class",
        question=(
            "How accurate is a classifier with ten labelled cases of each class: MiniRocket, "
            "ConvTimeNet in closed form (fast), the default, and features of the weights that come "
            'with the package (init_from="pretrained")? The seed draws the cases and seeds the '
            "model; all test cases are scored. The sets are those of the questions about few "
            "labels that have ten training cases of every class; what the features are was chosen "
            "on parts of training splits."
        ),
        cells=103,
        answer=[
            "Level with MiniRocket, not ahead of it beyond chance. On the mean of five sets the "
            "pre-trained features score 88.0 % and MiniRocket 87.8 %; without FingerMovements, "
            "where nobody is much better than chance, it is 97.7 against 97.6 %, and the interval "
            "of the difference over these four sets is -1.2 to +1.2. On CharacterTrajectories "
            "they are 1.0 point ahead, on Epilepsy 0.7 and on JapaneseVowels 0.4 points behind.",
            "Beside fast, the same random patches without them, they are ahead on every set: 88.0 "
            "against 86.9 %, 2.6 points on JapaneseVowels. They cost 9 CPU seconds a set instead "
            "of 2 (MiniRocket 0.3).",
            "Earlier runs come first in the raw results: one with other drawn signs of the sums of "
            "channels had 47.8 % on FingerMovements and 96.8 instead of 97.1 % on JapaneseVowels, "
            "so 87.6 % on the mean, behind MiniRocket; one before groups of random patches had "
            "several sets of channels had 50.0 % on FingerMovements, and fast 48.0 %. The default, "
            "which trains a network for two minutes, has run in three cells only.",
            'Fine-tuning of the weights (training={"encoder_rate": 1.0}) is not worth its time '
            "here: 88.1 % on the mean, 0.1, 0.1, 0.4 and 0.1 points more on the four sets above "
            "chance, with the cases of the same seeds, for 18 to 143 CPU seconds instead of 2 to "
            "10. On FingerMovements it ran before there were several sets of channels.",
        ],
        comparisons=[
            Comparison(
                name="ten",
                title="Ten labelled cases a class",
                reference="minirocket.ten",
                names={
                    "minirocket.ten": "MiniRocket",
                    "cases.fast": "fast",
                    "cases.pretrained": "pre-trained",
                    "cases.tuned": "fine-tuned",
                    "cases.auto": "default",
                },
            ),
        ],
    ),
    "pretrain": Question(
        title="Does pre-training without labels help?",
        question=(
            "The paper's third open question: can the network be pre-trained? Here an encoder "
            "learns to reconstruct hidden spans of all training cases, or to tell changed copies "
            "of them apart, without labels (2,000 steps); then 5, 10, 25 or 100 % of the labels "
            "are given to a network with the paper's settings that starts from new weights, from "
            "the encoder, or keeps the encoder and trains its head only. Test cases are read once, "
            "at the end. Forecasters likewise, pre-trained on the rows of the training split."
        ),
        cells=20,
        answer=[
            "No, where it was measured so far, which is little: one seed on JapaneseVowels (270 "
            "cases of 12 channels) and on CharacterTrajectories (1,422 of 3). An encoder that "
            "learnt to reconstruct the training cases and is trained on is 0.8 to 4.9 points "
            "behind new weights on JapaneseVowels, with 5 to 100 % of the labels, and 0.3 to 0.5 "
            "points on CharacterTrajectories. After contrast it is 0.5 points ahead in the one "
            "cell that has run, CharacterTrajectories with 5 %. No interval can be given yet.",
            "An encoder that is kept and only gets a new head is far behind with few labels (42.7 "
            "against 80.3 %, and 51.0 against 90.1 %, at 5 %) and still 7 points with all. With "
            "few labels that is not only the encoder: a new head gets few steps, and cases are "
            "scaled by the labelled ones. The last error of reconstruction is 0.21 and 0.13 of the "
            "variance, so the pretext itself is learnt.",
            "Open: the other sets and seeds and the forecasts have not run; nor has the case that "
            "pre-training is meant for, far more unlabelled series than a training split holds.",
        ],
        shown=[question_tables.by_start],
        comparisons=[
            Comparison(
                name="forecasts",
                title="Forecasting, the paper's settings",
                forecasts=True,
                reference="forecaster.scratch",
                names={
                    "forecaster.scratch": "new weights",
                    "forecaster.tuned": "pre-trained",
                },
            ),
        ],
    ),
    "movement": Question(
        title="How far do patches move, and does it matter?",
        question=(
            "After training, how far do patches lie from their anchors on the test inputs, how"
            " much wider are they, and do the answers change when the offsets are set to zero?"
        ),
        cells=57,
        answer=[
            "Patches hardly move. Their centres lie 0.06 to 0.6 steps from their anchors on "
            "average, for patches of 4 to 64 steps: at most 7 % of a patch in any run. Their "
            "widths change by less than 6 %, apart from single runs on sets with patches of four "
            "steps (JapaneseVowels, Epilepsy and ERing: from 16 % narrower to 14 % wider).",
            "Nor do most trained networks answer otherwise with their offsets set to zero: "
            "accuracy changes by 1.1 points at most, apart from sets near chance "
            "(FingerMovements, SelfRegulationSCP2 and HandMovementDirection: -2.8 to +2.7 in "
            "single runs), and up to 4.1 % of the answers differ. Sets of 15 cases change by two "
            "answers at most.",
            "In forecasting they do matter a little, to both sides: on ETTh1 the MSE rises by 2.2 "
            "and 2.5 % in the two seeds that have run, on ILI at 60 weeks it falls by 3.0 to 4.4 "
            "% in all three, at 48 weeks by 0.6 to 1.8 %, and elsewhere it changes by 2.9 % at "
            "most, with either sign. So a network has adapted to what its patches do, and is not "
            "better for it; whether training with them helps is another question (offsets.md).",
        ],
        shown=[question_tables.movement, question_tables.movement_drawn],
    ),
    "mixing": Question(
        title="Channels that read each other",
        question=(
            "The paper forecasts every channel from itself alone and leaves open whether channels "
            "should read each other. Here the default forecaster is trained with and without four "
            "messages between channels (docs/design/channel-mixing.md): on generated tables in "
            "which one of six channels follows another by five steps, and on real sets."
        ),
        cells=14,
        answer=[
            "Where one channel leads another, yes, and at no cost that could be measured. On three "
            "generated tables the squared error of the led channel over the first five steps falls "
            "from 1.01, 1.01 and 0.92 to 0.07, 0.04 and 0.08, that is 12 to 28 times, and the "
            "other channels' forecasts stay the same, because the validation split grants only "
            "the led channel what it hears.",
            "On real sets it is open. On ILI the mean of three seeds falls by 3.3 % with an "
            "interval of -14.9 to +8.4; on ETTh1 one seed gains 0.3 %. Exchange, ETTh2 and "
            "Weather have not run.",
            "A training step takes 0.95 to 1.01 times as long with 8 to 128 channels; each has 8 "
            "weights. Time does not speak against it, but two sets do not speak for it: it stays "
            "off by default, and is a member of quality='best', where held-out windows weigh it.",
        ],
        shown=[led, costs],
        comparisons=[
            Comparison(
                name="sets",
                title="Real sets",
                forecasts=True,
                reference="forecaster.alone",
                names={"forecaster.alone": "alone", "forecaster.mixed": "mixed"},
            ),
            Comparison(
                name="short",
                title="Weather, five epochs, context 336",
                forecasts=True,
                reference="forecaster.alone-short",
                names={"forecaster.alone-short": "alone", "forecaster.mixed-short": "mixed"},
            ),
            Comparison(
                name="generated",
                title="Generated tables, all channels and steps",
                forecasts=True,
                reference="forecaster.alone-96",
                names={"forecaster.alone-96": "alone", "forecaster.mixed-96": "mixed"},
            ),
        ],
    ),
}
