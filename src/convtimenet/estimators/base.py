"""What all estimators share: settings, training, answers of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from os import PathLike
from typing import Any, NoReturn, cast

import numpy as np
import torch

from convtimenet.callbacks import Callback, checked
from convtimenet.config import ModelConfig, TrainConfig
from convtimenet.data.windows import Examples, known_in
from convtimenet.devices import RandomNumbers, autocast, device_of
from convtimenet.errors import ConfigError, DataError, TrainingError
from convtimenet.estimators.parameters import DECIDED
from convtimenet.estimators.portfolio import (
    Plan,
    Trained,
    of_member,
    phase_of,
    started,
    together,
)
from convtimenet.estimators.pretrained import Pretrained, again_from, encoder_of
from convtimenet.estimators.saved import SavedEstimator
from convtimenet.estimators.trainings import (
    Training,
    at_once,
    in_waves,
    no_time_note,
    solved_again,
    stopped_message,
    train_all,
)
from convtimenet.network.ensemble import like, networks_in
from convtimenet.network.inference import fuse
from convtimenet.network.memory import Parts
from convtimenet.network.model import ConvTimeNet
from convtimenet.network.networks import network_of
from convtimenet.network.other import OtherNetwork
from convtimenet.network.precision import precision_on
from convtimenet.progress import check_verbose, counted
from convtimenet.training.checkpoint import Checkpoints, data_hash
from convtimenet.training.history import History, Second
from convtimenet.training.interrupt import StopRequest, stop_requests
from convtimenet.training.loop import train

log = logging.getLogger(__name__)


class ConvTimeNetEstimator(SavedEstimator):
    """Base of the estimators; not used by itself.

    A subclass has the parameters below, sets up its data in ``fit`` and calls `_fit_network`.
    """

    preset: str
    n_jobs: int | None
    verbose: int
    callbacks: Sequence[Callback] | None
    pretrained_: Pretrained
    """The encoder of `pretrain`, which `fit` starts from; absent without it."""

    def _model_settings(self, preset: Mapping[str, Any]) -> dict[str, Any]:
        """The preset's network settings with the estimator's own on top."""
        own = self._settings("model")
        decided = DECIDED & set(own)
        if decided:
            raise ConfigError(
                f"model={{...}} holds {', '.join(sorted(decided))}, which the data and the "
                "estimator's parameters determine; leave it out"
            )
        start = self._start() if self.preset == "auto" and preset.get("kernel_sizes") else None
        return {**preset, **({} if start is None else start.architecture), **own}

    def _start(self) -> Pretrained | None:
        """The encoder that new weights start from: of `pretrain`, or else of `init_from`."""
        own = getattr(self, "pretrained_", None)
        return encoder_of(self.init_from) if own is None and self.init_from is not None else own

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
        check_verbose(self.verbose)
        first = plans[0]
        precision, notice = precision_on(device, first.train_config.precision, first.config)
        plans = [
            replace(plan, train_config=replace(plan.train_config, precision=precision))
            for plan in plans
        ]
        plans, unlike = started(plans, self._start())
        notices = [*notices, *([notice] if notice else []), *unlike]
        for notice in notices:
            log.warning(notice)
        with stop_requests() as stop:
            done, left_out = self._train_members(plans, device, resume, stop)
            done, network, history, unusable = together(done, device)
            left_out += unusable
        first, train_config = done[0].plan, done[0].plan.train_config
        if history.best_epoch:
            fused = fuse(network, precision)
            attributes = fitted(fused, train_config)
            for name in [n for n in vars(self) if n.endswith("_") and n[0] != "_"]:
                if name != "pretrained_":
                    delattr(self, name)
            vars(self).update(attributes)
            self.network_, self.train_config_, self.history_ = network, train_config, history
            self.fused_ = fused
            self._keep_parameters()
            self.members_ = tuple(one.member for one in done) if len(done) > 1 else ()
            self.notices_ = (*read_notices, *notices, *left_out, *history.notes)
            self.n_examples_ = {
                "fitted": len(first.examples),
                "held_back": 0 if first.valid is None else len(first.valid),
            }
            for note in (*left_out, *history.notes):
                log.warning(note)
        if stop.signal:
            self._stop(stop, history, plans[0].train_config, resume)
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
        """Train a network, or the members of a portfolio, and say which of them are left out. Those
        after the first are where the time limit leaves none for another as dear as the dearest so
        far, unless they are ready, or training fails; a stop leaves out those it ends, unless it
        ends all."""
        done: list[Trained] = []
        ended: list[Trained] = []
        late = False
        notes, seconds, limit = [], [], plans[0].train_config.time_limit
        workers = at_once(self.n_jobs, len(plans))
        size = len(plans) if workers > 1 and limit is None else workers
        for first in range(0, len(plans), size):
            dearest = max((one.seconds for one in done), default=0.0)
            if limit is not None and done and in_waves(seconds, size) + dearest > limit:
                late = True
            wave = [
                (n, plan)
                for n, plan in enumerate(plans[first : first + size], first + 1)
                if plan.ready or not late
            ]
            if not wave:
                continue
            trainings = [
                Training(
                    plan.config, plan.train_config, plan.examples, plan.valid, device,
                    *phase_of("choose", "training", n, len(plans)), plans[0].train_config.seed,
                    start=plan.start,
                )
                for n, plan in wave
            ]  # fmt: skip
            outcomes = train_all(self, trainings, resume, stop, workers, "training")
            for (n, plan), outcome in zip(wave, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    if n == 1:
                        raise outcome
                    notes.append(f"member {n} of {len(plans)} is left out: {outcome}")
                elif outcome is not None:
                    one = Trained(plan, *outcome)
                    cut = stop.signal and one.history.stopped == f"stopped by {stop.name}"
                    if cut:
                        ended.append(one)
                    else:
                        done.append(one)
                        seconds.append(one.seconds)
            if stop.signal:
                break
        if late:
            notes.append(
                f"{len(done)} of {len(plans)} networks were trained: the time limit of "
                f"{limit:g} s left none for another"
            )
        if not done:  # of networks without an epoch any will do, as there is no model then
            done = [one for one in ended if one.history.best_epoch][:1] or ended[:1]
        return done, notes

    def _train_again(
        self,
        all_examples: Sequence[Examples],
        device: torch.device,
        resume: str | PathLike[str] | None,
    ) -> bool:
        """Second training, on all examples, as `TrainConfig.refit` says; predictions use its
        weights from then on. Where the time limit leaves no time for it, what is solved for is
        solved for again. Returns False, with a notice saying why, if all weights of the first
        training are kept.

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
        before, members = networks_in(self.network_), self._trained()
        plans = [member.again(own) for member, own in zip(members, all_examples, strict=True)]
        workers, reason = at_once(self.n_jobs, len(plans)), ""
        networks, notes, second = [], [], Second(train_config.refit == "continue", 0, 0)
        limit, dear = train_config.time_limit, [bool(one.history.steps) for one in members]
        used = [one.history.seconds for one in compress(members, dear)]
        needed = in_waves(used, workers)
        needed += in_waves([each for _, each in compress(plans, dear)], workers)
        if limit is not None and needed > limit:
            solved = [one.solved for one in members]
            label, note = "solving again on all data", no_time_note(solved)
            if any(solved):
                given = before, solved, all_examples, train_config.seed
                with stop_requests() as stop:
                    networks = solved_again(*given, stop, verbose=self.verbose, label=label)
                if stop.signal:
                    self._stop(stop, history, train_config, resume)
                second, notes = replace(second, goes_on=True), [note]
            else:
                reason = note
        else:
            label, start = "training on all data", self._start()
            trainings = [
                Training(
                    network.config, again, own, None, device,
                    *phase_of("refit", label, n, len(plans)), train_config.seed, network,
                    again_from(start, network, again, history),
                )
                for n, (network, (again, _), own) in enumerate(
                    zip(before, plans, all_examples, strict=True), 1
                )
            ]  # fmt: skip
            with stop_requests() as stop:
                outcomes = train_all(self, trainings, resume, stop, workers, label)
            for n, outcome in enumerate(outcomes, 1):
                if isinstance(outcome, TrainingError):
                    reason = reason or f"the second training failed: {outcome}"
                elif isinstance(outcome, Exception):
                    raise outcome
                elif outcome is not None:
                    networks.append(outcome[0])
                    if n == 1:
                        done = outcome[1]
                        second = replace(second, epochs=len(done.epochs), steps=done.steps)
                    own = outcome[1].notes
                    notes += of_member(n, own) if len(plans) > 1 else own
            if stop.signal:
                self._stop(stop, history, train_config, resume)
        if not reason:
            goes_on = second.goes_on
            kept = [one for one in self.notices_ if goes_on or one not in history.notes]
            new = [one for one in notes if one not in kept]
            self.network_ = like(self.network_, networks)
            self.fused_ = fuse(self.network_, train_config.precision)
            self.history_ = replace(history, refitted=True, second=second)
            self.notices_ = (*kept, *new)
            for note in new:
                log.warning(note)
            return True
        self.notices_ = (*self.notices_, reason)
        log.warning(reason)
        return False

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
        message = stopped_message(stop, history, resume, seed)
        log.warning(message)
        raise stop.error(message)

    def _train_network(
        self,
        training: Training,
        resume: str | PathLike[str] | None,
        stop: StopRequest,
        *,
        within: bool = False,
    ) -> tuple[ConvTimeNet, History]:
        """Train a network from new weights; or for a second time, as `TrainConfig.refit` says,
        after the training of another. Resumes from a checkpoint in the folder `resume`, whose lock
        the process holds that started this one if this is `within` one."""
        train_config, before, device = training.train_config, training.before, training.device
        checkpoints = None
        if resume is not None:
            # these change neither weights nor history and may differ when resuming
            free = ("checkpoint_seconds", "memory_budget", "device")
            settings = {k: v for k, v in train_config.to_dict().items() if k not in free}
            run = {
                "estimator": type(self).__name__,
                "device": device.type,
                "model": training.config.to_dict(),
                "training": settings,
                "training data": data_hash(training.examples),
                "validation data": data_hash(training.valid),
            }
            if training.start is not None:
                run["pre-trained data"] = data_hash(training.start.weights)
            checkpoints = Checkpoints(resume, training.phase, run, training.seed, within=within)
        numbers = RandomNumbers(train_config.seed, device)
        with numbers.for_weights():
            network = cast(ConvTimeNet, self._new_network(training.config))
        if training.start is not None:
            training.start.load_into(network)
        if before is not None and (train_config.refit == "continue" or training.config.pretrained):
            network.load_state_dict(before.state_dict())
        elif before is not None:
            shares = {n: one for n, one in before.named_buffers() if n.endswith("granted")}
            network.load_state_dict(shares, strict=False)
        history = train(
            network.to(device),
            training.examples,
            training.valid,
            train_config,
            device=device,
            numbers=numbers,
            verbose=self.verbose,
            label=training.label,
            checkpoints=checkpoints,
            stop=stop,
            callbacks=checked(self.callbacks),
        )
        return network, history

    def _network_with(self, training: Training, weights: Mapping[str, np.ndarray]) -> ConvTimeNet:
        """The network of a training in another process, for inference."""
        with RandomNumbers(training.train_config.seed, training.device).for_weights():
            network = cast(ConvTimeNet, self._new_network(training.config))
        network.load_state_dict({name: torch.tensor(one) for name, one in weights.items()})
        return network.to(training.device).eval()

    def _new_network(self, config: ModelConfig) -> ConvTimeNet | OtherNetwork:
        """The network to train, with new weights; overridden for another network."""
        return network_of(config)

    def _outputs(
        self,
        x: np.ndarray,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
        answer: Callable[..., torch.Tensor] | None = None,
    ) -> np.ndarray:
        """Outputs of the inference network, (n, C, H) or (n, K), or of `answer` in its place, for
        inputs (n, C, L) with NaN where missing.

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
            return (answer or self.fused_)(inputs, known_in(inputs)).float().cpu()

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
