"""What all estimators share: settings, training, answers of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, NoReturn, cast

import numpy as np
import torch
from sklearn.utils import check_random_state

from convtimenet import processes
from convtimenet.callbacks import Callback, checked
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Examples, known_in
from convtimenet.devices import RandomNumbers, autocast, device_of
from convtimenet.errors import ConfigError, DataError, OutOfMemoryError, TrainingError
from convtimenet.estimators.parameters import DECIDED
from convtimenet.estimators.portfolio import Member, Plan, Trained, of_member, phase_of, together
from convtimenet.estimators.saved import SavedEstimator
from convtimenet.network.ensemble import like, networks_in
from convtimenet.network.inference import fuse
from convtimenet.network.memory import Parts
from convtimenet.network.model import ConvTimeNet, count_parameters
from convtimenet.network.networks import network_of
from convtimenet.network.other import OtherNetwork
from convtimenet.network.precision import precision_on
from convtimenet.progress import counted
from convtimenet.training.checkpoint import Checkpoints, data_hash, seed_of
from convtimenet.training.history import History
from convtimenet.training.interrupt import StopRequest, stop_requests
from convtimenet.training.loop import train
from convtimenet.wording import html_table

log = logging.getLogger(__name__)


class ConvTimeNetEstimator(SavedEstimator):
    """Base of the estimators; not used by itself.

    A subclass has the parameters below, sets up its data in ``fit`` and calls `_fit_network`.
    """

    preset: str
    n_epochs: int | None
    batch_size: int | None
    lr: float | None
    time_limit: float | None
    precision: str
    device: str
    random_state: int | np.random.RandomState | None
    verbose: int
    callbacks: Sequence[Callback] | None

    @property
    def _repr_html_(self) -> Callable[[], str]:
        """For notebooks; scikit-learn's diagram needs scripts and says nothing about the fit."""
        return self._summary_html

    def _summary_html(self) -> str:
        rows = [["settings", repr(self)]]
        if hasattr(self, "fused_"):
            config, history = self.network_.config, self.history_
            rows += [
                ["reads", f"{config.context_length} time steps"],
                ["network", f"{count_parameters(self.network_):,} parameters"],
                ["training", f"{history.seconds:.1f} s on {history.device}: {history.stopped}"],
            ]
            rows += [["notice", notice] for notice in self.notices_]
        state = "fitted" if len(rows) > 1 else "not fitted"
        return html_table(f"{type(self).__name__}, {state}", rows)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._summary_html()}

    def _train_config(
        self, preset: Mapping[str, Any], resume: str | PathLike[str] | None
    ) -> TrainConfig:
        """The preset's training settings with the estimator's own on top."""
        own = {
            "epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "time_limit": self.time_limit,
        }
        fixed = {"precision": self.precision, "device": self.device, "seed": self._seed(resume)}
        given = {name: value for name, value in own.items() if value is not None}
        return TrainConfig.from_dict({**preset, **fixed, **given, **self._settings("training")})

    def _seed(self, resume: str | PathLike[str] | None) -> Any:
        """`random_state` as an integer seed, drawn if it is a `RandomState` or None; a resumed
        training keeps the seed it started with."""
        given = self.random_state
        started = None
        if given is None and resume is not None:
            started = seed_of(resume)
        if started is None and (given is None or isinstance(given, np.random.RandomState)):
            started = int(check_random_state(given).randint(2**31))
        return given if started is None else int(processes.of_first(started))

    def _model_settings(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """The preset's network settings with the estimator's own on top."""
        own = self._settings("model")
        decided = DECIDED & set(own)
        if decided:
            raise ConfigError(
                f"model={{...}} holds {', '.join(sorted(decided))}, which the data and the "
                "estimator's parameters determine; leave it out"
            )
        return {**preset, **own}

    def _fixed(self) -> set[str]:
        """Names of the settings of the user's own, which hold for every member of a portfolio."""
        return {*self._settings("model"), *self._settings("training")}

    def _fit_network(
        self,
        plans: Sequence[Plan],
        device: torch.device,
        read_notices: Sequence[str],
        notices: Sequence[str],
        fitted: Callable[[Any, TrainConfig], Mapping[str, Any]],
        *,
        resume: str | PathLike[str] | None = None,
        refitted: Mapping[str, Any] | None = None,
    ) -> list[Plan]:
        """Build and train the network, or the members of a portfolio. Attributes are set only after
        training has succeeded, and those of an earlier fit are removed then.

        Parameters
        ----------
        plans
            The network, or the members in the order of their training.
        read_notices
            Notices from reading the data, already logged.
        notices
            Later notices about the data, logged here.
        fitted
            Returns further attributes for the trained network, fused for inference, and its
            settings; they are set together with those of the network.
        resume
            Folder of checkpoints to resume from and to write.
        refitted
            Attributes that replace those of `fitted` after a second training, which follows if they
            are given and `TrainConfig.refit` asks for it.

        Returns
        -------
        The plans that were trained.

        Raises
        ------
        KeyboardInterrupt, Terminated
            If SIGINT or SIGTERM stopped training. The best weights so far are kept, if any; of a
            portfolio the members that were finished.
        """
        checked(self.callbacks)
        first = plans[0]
        precision, notice = precision_on(device, first.train_config.precision, first.config)
        plans = [
            replace(plan, train_config=replace(plan.train_config, precision=precision))
            for plan in plans
        ]
        notices = [*notices, notice] if notice else notices
        for notice in notices:
            log.warning(notice)
        with stop_requests() as stop:
            done, left_out = self._train_members(plans, device, resume, stop)
            network, history = together(done, device)
        train_config = plans[0].train_config
        if history.best_epoch:
            fused = fuse(network, precision)
            attributes = fitted(fused, train_config)
            for name in [n for n in vars(self) if n.endswith("_") and n[0] != "_"]:
                delattr(self, name)
            vars(self).update(attributes)
            self.network_, self.train_config_, self.history_ = network, train_config, history
            self.fused_ = fused
            self.members_ = tuple(one.member for one in done) if len(done) > 1 else ()
            self.notices_ = (*read_notices, *notices, *left_out, *history.notes)
            self.n_examples_ = {
                "fitted": len(first.examples),
                "held_back": 0 if first.valid is None else len(first.valid),
            }
            for note in (*left_out, *history.notes):
                log.warning(note)
        if stop.signal:
            self._stop(stop, history, train_config, resume)
        plans = [one.plan for one in done]
        if refitted is not None and train_config.refit:
            everything = [plan.all_examples for plan in plans if plan.all_examples is not None]
            if self._train_again(everything, device, resume):
                vars(self).update(refitted)
        return plans

    def _train_members(
        self,
        plans: Sequence[Plan],
        device: torch.device,
        resume: str | PathLike[str] | None,
        stop: StopRequest,
    ) -> tuple[list[Trained], list[str]]:
        """Train one network after the other, and say which are left out. Those after the first are
        where the time limit leaves none for another as dear as the dearest so far, or training
        fails; a stop leaves out the one it ends, unless it is the first."""
        done, notes, limit = [], [], plans[0].train_config.time_limit
        for n, plan in enumerate(plans, 1):
            seconds = [one.seconds for one in done]
            if limit is not None and done and sum(seconds) + max(seconds) > limit:
                notes.append(
                    f"{len(done)} of {len(plans)} networks were trained: the time limit of "
                    f"{limit:g} s left none for another"
                )
                break
            phase, label = phase_of("choose", "training", n, len(plans))
            try:
                network, history = self._train_network(
                    plan.config, plan.train_config, plan.examples, plan.valid, device, resume, stop,
                    phase, label,
                )  # fmt: skip
            except (TrainingError, OutOfMemoryError) as error:
                if not done:
                    raise
                notes.append(f"member {n} of {len(plans)} is left out: {error}")
                continue
            ended = stop.signal and history.stopped == f"stopped by {stop.name}"
            if not done or not ended:
                done.append(Trained(plan, network, history))
            if stop.signal:
                break
        return done, notes

    def _train_again(
        self,
        all_examples: Sequence[Examples],
        device: torch.device,
        resume: str | PathLike[str] | None,
    ) -> bool:
        """Second training, on all examples, as `TrainConfig.refit` says; predictions use its
        weights from then on. Returns False, with a notice saying why, if the first training's
        weights are kept.

        Parameters
        ----------
        all_examples
            For the network, or for each member of an ensemble.

        Raises
        ------
        KeyboardInterrupt, Terminated
            If SIGINT or SIGTERM stopped training. The first training's weights are kept.
        """
        train_config, history = self.train_config_, self.history_
        before, limit = networks_in(self.network_), train_config.time_limit
        plans = [
            member.again(own) for member, own in zip(self._trained(), all_examples, strict=True)
        ]
        networks, notes, reason = [], [], ""
        if limit is not None and history.seconds + sum(needed for _, needed in plans) > limit:
            reason = "the time limit left no time to train again on all data"
        else:
            with stop_requests() as stop:
                try:
                    for n, ((again, _), own) in enumerate(zip(plans, all_examples, strict=True), 1):
                        phase, label = phase_of("refit", "training on all data", n, len(plans))
                        network, second = self._train_network(
                            before[n - 1].config, again, own, None, device, resume, stop, phase,
                            label, before[n - 1],
                        )  # fmt: skip
                        networks.append(network)
                        notes += of_member(n, second.notes) if len(plans) > 1 else second.notes
                        if stop.signal:
                            break
                except TrainingError as error:
                    reason = f"the second training failed: {error}"
            if stop.signal:
                self._stop(stop, history, train_config, resume)
        if not reason:
            goes_on = train_config.refit == "continue"
            kept = [one for one in self.notices_ if goes_on or one not in history.notes]
            new = [one for one in notes if one not in kept]
            self.network_ = like(self.network_, networks)
            self.fused_ = fuse(self.network_, train_config.precision)
            self.history_, self.notices_ = replace(history, refitted=True), (*kept, *new)
            for note in new:
                log.warning(note)
            return True
        self.notices_ = (*self.notices_, reason)
        log.warning(reason)
        return False

    def _trained(self) -> tuple[Member, ...]:
        """How the network, or each member of an ensemble, was trained."""
        sizes = self.n_examples_
        fitted = None if sizes is None else sizes["fitted"]
        return self.members_ or (Member(self.train_config_, self.history_, fitted),)

    def _stop(
        self,
        stop: StopRequest,
        history: History,
        train_config: TrainConfig,
        resume: str | PathLike[str] | None,
    ) -> NoReturn:
        """Log what is kept, and raise the signal's exception."""
        drawn = isinstance(self.random_state, np.random.RandomState)
        seed = train_config.seed if drawn else None
        message = _stopped_message(stop, history, resume, seed)
        log.warning(message)
        raise stop.error(message)

    def _train_network(
        self,
        config: ModelConfig,
        train_config: TrainConfig,
        examples: Examples,
        valid: Examples | None,
        device: torch.device,
        resume: str | PathLike[str] | None,
        stop: StopRequest,
        phase: str,
        label: str,
        before: ConvTimeNet | None = None,
    ) -> tuple[ConvTimeNet, History]:
        """Train a network from new weights; or for a second time, as `TrainConfig.refit` says,
        after the training of `before`. Resumes from a checkpoint in the folder `resume`."""
        checkpoints = None
        if resume is not None:
            # these change neither weights nor history and may differ when resuming
            free = ("checkpoint_seconds", "memory_budget", "device")
            settings = {k: v for k, v in train_config.to_dict().items() if k not in free}
            run = {
                "estimator": type(self).__name__,
                "device": device.type,
                "model": config.to_dict(),
                "training": settings,
                "training data": data_hash(examples),
                "validation data": data_hash(valid),
            }
            checkpoints = Checkpoints(resume, phase, run)
        numbers = RandomNumbers(train_config.seed, device)
        with numbers.for_weights():
            network = cast(ConvTimeNet, self._new_network(config))
        if before is not None and train_config.refit == "continue":
            network.load_state_dict(before.state_dict())
        elif before is not None:
            shares = {n: one for n, one in before.named_buffers() if n.endswith("granted")}
            network.load_state_dict(shares, strict=False)
        history = train(
            network.to(device),
            examples,
            valid,
            train_config,
            device=device,
            numbers=numbers,
            verbose=self.verbose,
            label=label,
            checkpoints=checkpoints,
            stop=stop,
            callbacks=checked(self.callbacks),
        )
        return network, history

    def _new_network(self, config: ModelConfig) -> ConvTimeNet | OtherNetwork:
        """The network to train, with new weights; overridden for another network."""
        return network_of(config)

    def _outputs(
        self, x: np.ndarray, prepare: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """Outputs of the inference network, (n, C, H) or (n, K), for inputs (n, C, L) with NaN
        where missing.

        Parameters
        ----------
        prepare
            Scales inputs, a batch at a time, so that the whole input is never copied.
        """
        device = device_of(self.fused_)
        size, parts = self.train_config_.batch_size, Parts("predicting")
        result: np.ndarray | None = None

        def compute(part: np.ndarray) -> torch.Tensor:
            scaled = part if prepare is None else prepare(part)
            inputs = torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32)).to(device)
            return self.fused_(inputs, known_in(inputs)).float().cpu()

        with torch.inference_mode(), autocast(device, self.train_config_):
            for first in counted(range(0, max(1, len(x)), size)):
                chunk, done = x[first : first + size], first
                for output in parts.run(len(chunk), lambda part, chunk=chunk: compute(chunk[part])):
                    if result is None:
                        result = np.empty((len(x), *output.shape[1:]), dtype=np.float32)
                    result[done : done + len(output)] = output.numpy()
                    done += len(output)
        assert result is not None
        return finite(result)


def finite(answers: np.ndarray) -> np.ndarray:
    """Return `answers` unchanged if they are all finite.

    Raises
    ------
    DataError
        If one of them is not.
    """
    if not np.isfinite(answers).all():
        raise DataError(
            "the network's output for these values is not finite; expected values like those "
            "it was fitted to, or a model trained with a smaller lr"
        )
    return answers


def _stopped_message(
    stop: StopRequest, history: History, resume: str | PathLike[str] | None, seed: int | None
) -> str:
    """What is kept after a stop, and how to resume; `seed` if a repeated call would draw anew."""
    if history.weights:
        kept = f"the {len(history.weights)} networks trained so far are kept"
    elif history.best_epoch:
        kept = f"the weights of epoch {history.best_epoch}, the best so far, are kept"
    else:
        kept = "no epoch was finished, so there is no model"
    if resume is None:
        how = "to make training resumable, give a folder as resume="
    else:
        how = "" if seed is None else f"random_state={seed} and "
        how = f"the same call with {how}resume={str(resume)!r} resumes from here"
    return f"{stop.name} stopped the training: {kept}; {how}"
