"""Names in any spelling, and suggestions for unknown ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# One concept per row, with its names in this package and in other libraries.
_SYNONYMS = (
    "h horizon forecast_horizon prediction_length prediction_horizon pred_len forecast_length "
    "output_chunk_length output_length n_ahead steps_ahead n_steps steps fh",
    "input_size context context_length context_window lookback look_back lookback_window seq_len "
    "sequence_length window window_size input_length input_chunk_length history lags",
    "n_epochs epochs max_epochs num_epochs nepochs epoch num_train_epochs train_epochs max_steps "
    "max_iter iterations n_iter",
    "lr learning_rate initial_learning_rate learning_rate_init eta",
    "batch_size batch bs train_batch_size windows_batch_size",
    "random_state seed random_seed rng manual_seed",
    "device accelerator gpu use_gpu cuda",
    "precision dtype amp mixed_precision",
    "callbacks callback hooks loggers logger",
    "verbose verbosity progress progress_bar show_progress",
    "quiet silent no_progress no_progress_bar q",
    "freq frequency step interval",
    "time_col time_column timestamp_col timestamp_column date_col date_column datetime_col ds_col",
    "id_col id_column item_id series_id unique_id group_id group_ids group_col",
    "target_cols target_col target targets target_column target_columns value_cols value_col "
    "channels columns",
    "hist_exog hist_exog_list past_covariates historical_covariates observed_covariates",
    "futr_exog futr_exog_list future_covariates known_covariates known_covariates_names xreg",
    "stat_exog stat_exog_list static_covariates static_features",
    "calendar calendar_features time_features add_encoders date_features",
    "scale scaler scaler_type normalize normalise standardize standardise",
    "level levels interval intervals coverage confidence prediction_interval",
    "test_fraction test_size test_split holdout",
    "validation_fraction val_fraction val_size valid_size valid_fraction validation_size "
    "validation_split val_split",
    "patience early_stopping early_stop early_stop_patience early_stop_patience_steps",
    "time_limit max_time max_seconds timeout time_budget",
    "class_weight class_weights weights",
    "clip_norm grad_clip gradient_clip gradient_clip_val max_grad_norm clip",
    "loss criterion loss_fn loss_function objective",
    "d_model hidden_size hidden_dim model_dim width embed_dim",
    "d_ff ff_dim dim_feedforward ffn_dim",
    "kernel_sizes kernel_size kernels dw_ks",
    "patch_size patch_len patch_length patch_ks",
    "patch_stride stride patch_sd",
    "dropout drop dropout_rate p_drop",
    "quantiles quantile quantile_levels",
    "out output output_file output_path o",
    "save save_path model_path checkpoint_path output_dir",
    "load model_dir pretrained from_pretrained load_path",
    "resume checkpoint checkpoints resume_from ckpt_path",
    "future future_df plan",
    "preset presets profile",
    "training train training_config train_config",
    "model model_config network",
    "forecast predict prediction forecaster",
    "classify classification classifier",
    "regress regression regressor",
    "evaluate benchmark score test",
    "tune optimize optimise hpo hyperopt gridsearch",
    "trials n_trials num_trials num_samples",
    "study storage study_name",
    "space search_space search param_distributions",
    "export convert deploy onnx",
    "datasets dataset data download fetch",
    "completion complete completions",
)


def key_of(name: str) -> str:
    """A name without differences of spelling: case, spaces, hyphens, underscores."""
    return re.sub(r"[\s_-]", "", name.lower())


_CONCEPT_OF = {key_of(word): number for number, row in enumerate(_SYNONYMS) for word in row.split()}


def meant(name: str, *known: Sequence[str]) -> str | None:
    """The known name most likely meant by `name`, or None.

    A different spelling of the same name is preferred, then a synonym, from the first list that has
    either; then a typo in any list. Known names may have a group prefix, as in "training.lr".
    """
    from difflib import get_close_matches

    word = key_of(name.rpartition(".")[2].rpartition("__")[2])
    typos: dict[str, str] = {}
    for names in known:
        words = {key_of(one.rpartition(".")[2]): one for one in reversed(names)}
        concepts = {_CONCEPT_OF[short]: one for short, one in words.items() if short in _CONCEPT_OF}
        synonyms = {short: concepts[c] for short, c in _CONCEPT_OF.items() if c in concepts}
        if found := words.get(word) or synonyms.get(word):
            return found
        typos = synonyms | words | typos
    near = get_close_matches(word, typos, n=1, cutoff=0.7 if len(word) > 2 else 0.6)
    return typos[near[0]] if near else None


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """End of a message about an unknown name: a suggestion, or the known names."""
    found = meant(name, known)
    return f"did you mean {found}?" if found else f"expected one of {listed(known)}"


def listed(names: Iterable[str]) -> str:
    """Sorted names, separated by commas."""
    return ", ".join(sorted(names))
