"""One step of training, and a look at how far it has come. Knows no files."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segearth_cli.errors import TrainingError
from segearth_cli.model import Dense, Encoder, Upsampler
from segearth_cli.training.objective import Jitter, Losses, Objective, View, projections, transform
from segearth_cli.training.pictures import Look

WARM_UP = 10  # steps with gradients cut to CUT
CUT = 1e-4
VIEWS = 3  # jitters of a held-out window, the same at every look


@dataclass(frozen=True, slots=True)
class Peers:
    """The devices that share a step."""

    rank: int = 0
    """This one's number, from 0."""
    world: int = 1
    """How many there are."""

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all devices, in place."""
        if self.world > 1:
            torch.distributed.all_reduce(values)
            values /= self.world
        return values


@dataclass(frozen=True, slots=True)
class Figures:
    """Losses of a step or of held-out windows, as plain numbers; see `Losses`."""

    features: float
    """Of features brought down."""
    image: float
    """Of the reconstructed image."""
    error: float
    """The squared error within `features`."""

    @property
    def finite(self) -> bool:
        """Whether all are numbers."""
        return all(map(math.isfinite, (self.features, self.image, self.error)))


class Learner:
    """The parts that learn, with their optimiser.

    All that is random in a step follows from the seed, the step and the device's number, so that a step can be taken
    again, after running out of memory or in a resumed run, with the same result. share: windows of this device a step.
    """

    def __init__(
        self, encoder: Encoder, *, radius: int, lr: float, jitters: int, image_loss: float, seed: int, share: int,
        device: torch.device, peers: Peers | None = None,
    ):  # fmt: skip
        self.encoder = encoder.requires_grad_(False).eval().to(device)
        self.jitters, self.image_loss, self.seed = jitters, image_loss, seed
        self.device, self.peers = device, peers or Peers()
        self.share = self.part = share
        torch.manual_seed(seed)
        upsampler = Upsampler(encoder.channels, encoder.patch, radius=radius)
        self.objective = Objective(upsampler).to(device)
        self.optimizer = torch.optim.NAdam(self.objective.parameters(), lr=lr)

    @property
    def upsampler(self) -> Upsampler:
        """The upsampler that learns."""
        return self.objective.upsampler

    def step(self, number: int, images: Tensor, valid: Tensor) -> tuple[Figures, float]:
        """One optimiser step on this device's windows (B, 3, S, S): losses and the gradient's norm, over all devices.

        When memory runs out, the windows are taken in halves, which adds up to the same gradient. Nothing is changed
        when a loss or the gradient is not finite. Raises TrainingError when not even one window fits.
        """
        while True:
            try:
                sums = self._gradients(number, images, valid)
                break
            except (RuntimeError, MemoryError) as e:
                if not _out_of_memory(e):
                    raise
                if self.part == 1:
                    raise TrainingError("out of memory with one window at a time; use a smaller --crop") from e
            self.part = math.ceil(self.part / 2)  # outside of `except`, which holds on to what filled the memory
            self.optimizer.zero_grad()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        figures, norm = self._shared(sums, cut=CUT if number < WARM_UP else math.inf)
        if figures.finite and math.isfinite(norm):
            self.optimizer.step()
        return figures, norm

    def _gradients(self, number: int, images: Tensor, valid: Tensor) -> Tensor:
        """Adds up the gradients of all jitters, a part of the windows at a time; returns the sums of the losses."""
        entropy = int(np.random.SeedSequence([self.seed, number, self.peers.rank]).generate_state(1)[0])
        torch.manual_seed(entropy)
        rng = random.Random(entropy)
        self.objective.train()
        self.optimizer.zero_grad()
        image = self.encoder.normalise(images.to(self.device), valid.to(self.device))
        tokens = torch.cat([self.features(part) for part in torch.split(image, self.part)])
        size = image.shape[-2], image.shape[-1]
        drawn = [
            (Jitter.draw(*size, rng), projections(len(image), self.encoder.channels, image))
            for _ in range(self.jitters)
        ]
        sums = torch.zeros(3, device=self.device)
        for start in range(0, len(image), self.part):
            span = slice(start, start + self.part)
            views = [(jitter, project[span]) for jitter, project in drawn]
            sums += self._backward(image[span], tokens[span], views, len(image[span]) / len(image))
        return sums

    def _backward(self, image: Tensor, tokens: Tensor, drawn: Sequence[tuple[Jitter, Tensor]], share: float) -> Tensor:
        """Adds up the gradients of a share of the windows under every jitter; returns its part of the mean losses.

        The losses of one jitter after another, whose memory is free for the next, are taken back to the features; the
        sum of that goes back through the upsampler once.
        """
        weight = share / self.jitters
        dense = self.upsampler.dense(tokens, image)
        made = dense.maps, dense.mix, dense.constant
        cut = Dense(*(each.detach().requires_grad_() for each in made))
        sums = torch.zeros(3, device=self.device)
        for jitter, project in drawn:
            losses = self.objective.losses(cut, self.view(image, jitter, project))
            loss = (losses.features + self.image_loss * losses.image) * weight
            loss.backward()  # type: ignore[no-untyped-call]
            sums += torch.stack([losses.features, losses.image, losses.error]).detach() * weight
        torch.autograd.backward(made, [each.grad for each in (cut.maps, cut.mix, cut.constant)])
        return sums

    def _shared(self, sums: Tensor, cut: float) -> tuple[Figures, float]:
        """Means over all devices, of the losses and, in place, of the gradients, which are cut to a norm.

        Once a step, after all backward passes, and not by hooks within them: a device that takes a step again would
        send its gradients twice.
        """
        gradients = [parameter.grad for parameter in self.objective.parameters() if parameter.grad is not None]
        if self.peers.world > 1:
            flat = self.peers.mean(torch.cat([sums, *(gradient.flatten() for gradient in gradients)]))
            sums, *parts = torch.split(flat, [3, *(gradient.numel() for gradient in gradients)])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), cut)
        return Figures(*sums.tolist()), float(norm)

    @torch.no_grad()
    def features(self, image: Tensor) -> Tensor:
        """What the encoder says of normalised images (B, 3, H, W), (B, C, h, w) in float32."""
        return self.encoder.training_features(image).float()

    def view(self, image: Tensor, jitter: Jitter, project: Tensor) -> View:
        """A batch of normalised images under a jitter."""
        operators = jitter.operators(image.shape[-2], image.shape[-1], image)
        jittered = transform(image.permute(0, 2, 3, 1), operators).permute(0, 3, 1, 2)
        return View(operators, jittered, self.features(jittered), project)

    @torch.no_grad()
    def held_out(self, images: Tensor, valid: Tensor) -> tuple[Figures, Figures]:
        """Mean losses of windows (B, 3, S, S) by the upsampler, and by features resized bilinearly in its place."""
        with self.judging():
            torch.manual_seed(self.seed)
            rng = random.Random(self.seed)
            size = images.shape[-2], images.shape[-1]
            jitters = [Jitter.draw(*size, rng) for _ in range(VIEWS)]
            ours, bilinear = [], []
            for pixels, ok in zip(images, valid, strict=True):
                image = self.encoder.normalise(pixels[None].to(self.device), ok[None].to(self.device))
                tokens = self.features(image)
                dense, plain = self.upsampler.dense(tokens, image), resized(tokens, image)
                for jitter in jitters:
                    view = self.view(image, jitter, projections(1, self.encoder.channels, image))
                    ours.append(self.objective.losses(dense, view))
                    bilinear.append(self.objective.losses(plain, view))
        return _mean(ours), _mean(bilinear)

    @torch.no_grad()
    def look(self, pixels: Tensor, valid: Tensor) -> Look:
        """One window (3, S, S) uint8 and what is made of it."""
        with self.judging():
            image = self.encoder.normalise(pixels[None].to(self.device), valid[None].to(self.device))
            tokens = self.features(image)
            dense = self.upsampler.dense(tokens, image)
            rebuilt = self.objective.decoder(dense.maps, dense.mix[0], dense.constant)[0].permute(2, 0, 1)
            rebuilt = ((rebuilt * self.encoder.std + self.encoder.mean) / 255).clamp(0, 1)
        return Look(
            image=(pixels.permute(1, 2, 0).float() / 255).numpy(),
            tokens=tokens[0].permute(1, 2, 0).cpu().numpy(),
            features=dense.values()[0].cpu().numpy(),
            bilinear=resized(tokens, image).values()[0].cpu().numpy(),
            reconstruction=rebuilt.permute(1, 2, 0).cpu().numpy(),
        )

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Dropout off."""
        self.objective.eval()
        try:
            yield
        finally:
            self.objective.train()

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs beside the settings."""
        return {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "part": self.part,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes the place of the learner that `state` was made by."""
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.part = min(self.share, state["part"])


def resized(tokens: Tensor, image: Tensor) -> Dense:
    """Tokens (B, C, h, w) resized bilinearly to the image (B, 3, H, W)."""
    b, c, h, w = tokens.shape
    places = torch.eye(h * w, device=tokens.device).view(1, h * w, h, w)
    maps = F.interpolate(places, size=(image.shape[-2], image.shape[-1]), mode="bilinear", align_corners=False)
    return Dense(maps.permute(0, 2, 3, 1).expand(b, -1, -1, -1), tokens.flatten(2).transpose(1, 2), tokens.new_zeros(c))


def _mean(losses: list[Losses]) -> Figures:
    means = torch.stack([torch.stack([one.features, one.image, one.error]) for one in losses]).mean(dim=0)
    return Figures(*means.tolist())


def _out_of_memory(error: BaseException) -> bool:
    told = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in told
