"""Which scheduler configs of diffusers are read, as what, and which keys of them mean something.

The one place where that is decided: the loaders, the plan and the table in
docs/schedulers.md all read `SCHEDULERS` and the keys below.  What is not named here is refused.
Nothing here imports PyTorch or diffusers.
"""

import difflib
from dataclasses import dataclass
from typing import Any

from cartoonists.files.configs import number, refuse
from cartoonists.files.errors import CheckpointError

HEADS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
ALL = tuple(HEADS)
PAGE = "docs/schedulers.md"
WORDS = {"table": "a beta table", "edm": "EDM", "ve": "ScoreSdeVe", "flow": "flow matching"}


@dataclass(frozen=True)
class SchedulerClass:
    """How a class is read: *table* (a discrete VP table), *edm*, *ve*, *flow* or *refused*; why.

    ``heads``: the values of prediction_type whose meaning is known.  ``package``: what diffusers
    needs to build it.
    """

    kind: str
    why: str
    heads: tuple[str, ...] = ()
    package: str = ""
    shipped: bool = True


def _table(why: str = "a solver of the same network", heads=ALL, **options) -> SchedulerClass:
    return SchedulerClass("table", why, heads, **options)


def _edm(why: str, **options) -> SchedulerClass:
    return SchedulerClass("edm", why, ("epsilon", "v_prediction"), **options)


def _flow(why: str) -> SchedulerClass:
    return SchedulerClass("flow", why, ("velocity",))


def _refused(why: str) -> SchedulerClass:
    return SchedulerClass("refused", why)


_FLOW = "flow matching by a solver of its own"
_PIPELINES = "in pipelines alone"
_TOKENS = "steps between tokens, which have no density"
_CONSISTENCY = "of consistency models: their output maps to the data in one step and is no score"

SCHEDULERS: dict[str, SchedulerClass] = {
    "DDPMScheduler": _table("Ho et al. (2020)"),
    "DDPMParallelScheduler": _table("as DDPMScheduler"),
    "DDIMScheduler": _table(),
    "DDIMInverseScheduler": _table(),
    "DDIMParallelScheduler": _table(),
    "PNDMScheduler": _table(heads=("epsilon", "v_prediction")),
    "DEISMultistepScheduler": _table(),
    "DPMSolverMultistepScheduler": _table(),
    "DPMSolverMultistepInverseScheduler": _table(),
    "DPMSolverSinglestepScheduler": _table(),
    "DPMSolverSDEScheduler": _table(package="torchsde"),
    "EulerDiscreteScheduler": _table(),
    "EulerAncestralDiscreteScheduler": _table(),
    "HeunDiscreteScheduler": _table(),
    "KDPM2DiscreteScheduler": _table(),
    "KDPM2AncestralDiscreteScheduler": _table(),
    "LMSDiscreteScheduler": _table(package="scipy"),
    "SASolverScheduler": _table(),
    "UniPCMultistepScheduler": _table(),
    "RePaintScheduler": _table("inpainting with an ordinary network", heads=("epsilon",)),
    "UnCLIPScheduler": _table("a DDPM on the cosine table", heads=("epsilon", "sample")),
    "CogVideoXDDIMScheduler": _table("a table whose logSNR is shifted"),
    "CogVideoXDPMScheduler": _table("a table whose logSNR is shifted"),
    "EDMEulerScheduler": _edm("Karras et al. (2022)"),
    "EDMDPMSolverMultistepScheduler": _edm("as EDMEulerScheduler"),
    "KarrasEDMScheduler": SchedulerClass(
        "edm",
        "of networks of Song et al. (2023): *cm_edm* multiplies the noise level by 1000",
        ("sample",),
        shipped=False,
    ),
    "ScoreSdeVeScheduler": SchedulerClass("ve", "NCSN++ (Song et al., 2021): the score itself"),
    "ScoreSdeVpScheduler": _refused("its pipelines rescale the network's output by themselves"),
    "KarrasVeScheduler": _refused("its pipeline shifts and scales the network's input by itself"),
    "IPNDMScheduler": _refused("a table of its own with times that are no timesteps"),
    "CosineDPMSolverMultistepScheduler": _refused("an audio network with times of its own"),
    "DDPMWuerstchenScheduler": _refused("a continuous time of its own"),
    "ConsistencyDecoderScheduler": _refused(_CONSISTENCY),
    "CMStochasticIterativeScheduler": _refused(_CONSISTENCY),
    "LCMScheduler": _refused(_CONSISTENCY),
    "TCDScheduler": _refused(_CONSISTENCY),
    "SCMScheduler": _refused(_CONSISTENCY),
    "FlowMatchEulerDiscreteScheduler": _flow(f"flow matching (Liu et al., 2023), {_PIPELINES}"),
    "FlowMatchHeunDiscreteScheduler": _flow(f"flow matching, {_PIPELINES}"),
    "FlowMatchLCMScheduler": _refused(_FLOW),
    "FlowMapEulerDiscreteScheduler": _refused(_FLOW),
    "HeliosScheduler": _refused(_FLOW),
    "HeliosDMDScheduler": _refused(_FLOW),
    "LTXEulerAncestralRFScheduler": _refused(_FLOW),
    "MiniMaxH3Scheduler": _refused(_FLOW),
    "PiflowScheduler": _refused(_FLOW),
    "RFD4ProteinaScheduler": _refused("flow matching of protein structures"),
    "AmusedScheduler": _refused(_TOKENS),
    "BlockRefinementScheduler": _refused(_TOKENS),
    "DiscreteDDIMScheduler": _refused(_TOKENS),
    "EntropyBoundScheduler": _refused(_TOKENS),
    "VQDiffusionScheduler": _refused(_TOKENS),
}

TABLE_KEYS = (  # what a class builds its table from
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
    "rescale_betas_zero_snr", "snr_shift_scale",
)  # fmt: skip
IMAGE_KEYS = ("clip_sample", "clip_sample_range")
SOLVER_KEYS = {  # which steps a sampler takes, and how: nothing of the network's meaning
    "algorithm_type", "corrector_order", "correct_steps", "disable_corrector",
    "dynamic_thresholding_ratio", "eta", "euler_at_final", "final_sigmas_type", "flow_shift",
    "interpolation_type", "lambda_min_clipped", "lower_order_final", "noise_sampler_seed",
    "num_train_timesteps", "predict_x0", "predictor_order", "rho", "s_noise", "sample_max_value",
    "s_churn", "s_tmax", "s_tmin", "sampling_eps", "set_alpha_to_one", "sigma_schedule",
    "skip_prk_steps", "snr", "solver_order",
    "solver_p", "solver_type", "steps_offset", "tau_func", "tensor_format", "time_shift_type",
    "timestep_spacing", "timestep_values", "use_beta_sigmas", "use_exponential_sigmas",
    "use_karras_sigmas", "use_lu_lambdas", "variance_type",
}  # fmt: skip
ONLY = {  # keys that change the network's meaning or the field: the values that are understood
    "thresholding": (False,),
    "use_dynamic_shifting": (False,),
    "use_flow_sigmas": (False,),
    "timestep_type": ("discrete",),
}
FLOW_KEYS: dict[str, tuple | None] = {  # and their values; None: every one, of the steps alone
    "num_train_timesteps": None,
    "shift": None,
    "use_dynamic_shifting": (True, False),
    "base_shift": None,
    "max_shift": None,
    "base_image_seq_len": None,
    "max_image_seq_len": None,
    "invert_sigmas": (False,),
    "shift_terminal": None,
    "use_karras_sigmas": None,
    "use_exponential_sigmas": None,
    "use_beta_sigmas": None,
    "time_shift_type": ("exponential", "linear"),
    "stochastic_sampling": None,
}
KEYS = {  # by kind
    "flow": set(FLOW_KEYS),
    "table": {*TABLE_KEYS, *IMAGE_KEYS, "prediction_type", "predict_epsilon", "sigma_min",
              "sigma_max", *SOLVER_KEYS, *ONLY},
    "edm": {"sigma_data", "sigma_min", "sigma_max", "prediction_type", "precondition_type",
            *SOLVER_KEYS, *ONLY},
    "ve": {"sigma_min", "sigma_max", *SOLVER_KEYS},
}  # fmt: skip
NEEDED = (  # that diffusers cannot do without: nothing (null) is not its default
    {*TABLE_KEYS, "prediction_type", "sigma_data", "clip_sample_range"}
    - {"trained_betas", "snr_shift_scale"}
)
ALSO = {"KarrasEDMScheduler": {*TABLE_KEYS, *IMAGE_KEYS}}  # that a class has beyond its kind
WHY_ONLY = {"thresholding": " (it rescales x̂_0 while sampling: a field that no network has)"}


@dataclass(frozen=True)
class SchedulerReading:
    """What a scheduler config says of its network.

    ``kind`` as in `SchedulerClass`; ``head`` is a value of prediction_type (of a *ve* network
    none).  ``table``: the keys that the class builds its table from.  ``levels``: σ_min and σ_max;
    ``sigma_data`` of EDM; ``noise_scale`` by which ln(σ)/4 is multiplied; ``steps`` by which t of a
    flow is, for its timestep.  ``clip``: the value that x̂_0 of an *image* is clipped to, None where
    it is not.
    """

    name: str
    kind: str
    head: str = ""
    table: dict[str, Any] | None = None
    levels: tuple[float, float] | None = None
    sigma_data: float | None = None
    noise_scale: float = 1.0
    steps: int | None = None
    clip: float | None = None


def read_scheduler(
    config: dict,
    place: Any = "scheduler config",
    kinds: tuple[str, ...] = ("table", "edm", "ve"),
) -> SchedulerReading:
    """The meaning of a scheduler config of one of ``kinds``, those of a network of images.

    Raises CheckpointError for what is not understood, and for another kind.
    """
    name = config.get("_class_name")
    found = SCHEDULERS.get(name) if isinstance(name, str) else None
    if found is None or not isinstance(name, str):
        close = difflib.get_close_matches(str(name), SCHEDULERS, n=1)
        hint = f"; meant {close[0]}?" if close else ""
        raise refuse(place, "_class_name", name, f"DDPMScheduler or another of {PAGE}{hint}")
    if found.kind == "refused":
        raise CheckpointError(f"{place}: {name} cannot be read: {found.why} ({PAGE})")
    if found.kind not in kinds:
        allowed = ", ".join(WORDS[kind] for kind in kinds)
        raise CheckpointError(
            f"{place}: {name} found ({WORDS[found.kind]}), allowed here: {allowed} ({PAGE})"
        )
    _check_keys(config, name, found.kind, place)
    if found.kind == "ve":
        return SchedulerReading(name, "ve", levels=_levels(config, place, 0.01, 1348.0))
    if found.kind == "flow":
        return SchedulerReading(name, "flow", "velocity", steps=_steps(config, place))
    head = _head(config, found.heads, place)
    if found.kind == "edm":
        return _read_edm(name, config, head, place)
    table = {key: config[key] for key in TABLE_KEYS if config.get(key) is not None}
    _check_table(table, place)
    return SchedulerReading(name, "table", head, table=table, clip=_clip(config, name, place))


def _check_keys(config: dict, name: str, kind: str, place: Any) -> None:
    known = KEYS[kind] | ALSO.get(name, set())
    only = FLOW_KEYS if kind == "flow" else ONLY
    for key, value in config.items():
        if key in NEEDED and value is None and "predict_epsilon" not in config:
            raise refuse(place, key, value, "a value, or no such key")
        if key.startswith("_") or value is None:
            continue
        if key not in known:
            raise CheckpointError(
                f"{place}: {key}: found with {name}, allowed: keys that are known to it"
            )
        values = only.get(key)
        if values and not any(value == v and type(value) is type(v) for v in values):
            listed = ", ".join(map(str, values)).lower()
            raise refuse(place, key, value, f"{listed}{WHY_ONLY.get(key, '')}")


def _head(config: dict, allowed: tuple[str, ...], place: Any) -> str:
    """The head; *predict_epsilon* is its name until diffusers 0.10 (false: the image itself)."""
    old, head = config.get("predict_epsilon"), config.get("prediction_type")
    if old is not None:
        if not isinstance(old, bool):
            raise refuse(place, "predict_epsilon", old, "true or false")
        said = "epsilon" if old else "sample"
        if head is not None and head != said:
            raise refuse(place, "predict_epsilon", old, f"the same as prediction_type {head!r}")
        head = said
    head = allowed[0] if head is None else head
    if head not in allowed:
        raise refuse(place, "prediction_type", head, ", ".join(allowed))
    return head


def _levels(config: dict, place: Any, low: float, high: float) -> tuple[float, float]:
    return (
        number(place, config, "sigma_min", low, above=0.0),
        number(place, config, "sigma_max", high, above=0.0),
    )


def _read_edm(name: str, config: dict, head: str, place: Any) -> SchedulerReading:
    scale, precondition = 1.0, config.get("precondition_type")
    if name == "KarrasEDMScheduler":  # its *sample* is EDM's denoiser, whose output is the first
        allowed = {None: 1.0, "edm": 1.0, "cm_edm": 1000.0}  # factor of c_noise = ln(σ)/4
        if not isinstance(precondition, str | None) or precondition not in allowed:
            raise refuse(place, "precondition_type", precondition, "edm, cm_edm")
        scale, head = allowed[precondition], "epsilon"
    elif precondition is not None:
        raise refuse(place, "precondition_type", precondition, f"none with {name}")
    return SchedulerReading(
        name, "edm", head, levels=_levels(config, place, 0.002, 80.0),
        sigma_data=number(place, config, "sigma_data", 0.5, above=0.0), noise_scale=scale,
        clip=_clip(config, name, place),
    )  # fmt: skip


def _check_table(table: dict, place: Any) -> None:
    """Types and ranges, so that a class neither fails nor takes a word for a number."""
    _steps(table, place)
    for key in ("beta_start", "beta_end"):
        if key in table and not 0 < number(place, table, key) < 1:
            raise refuse(place, key, table[key], "a number between 0 and 1")
    if "snr_shift_scale" in table:
        number(place, table, "snr_shift_scale", above=0.0)
    if not isinstance(table.get("rescale_betas_zero_snr", False), bool):
        raise refuse(
            place, "rescale_betas_zero_snr", table["rescale_betas_zero_snr"], "true, false"
        )
    betas = table.get("trained_betas", [0.1, 0.1])
    good = isinstance(betas, list) and len(betas) > 1 and all(_between_0_and_1(b) for b in betas)
    if not good:
        raise refuse(place, "trained_betas", betas, "a list of at least 2 numbers between 0 and 1")
    if not isinstance(table.get("beta_schedule", ""), str):
        raise refuse(place, "beta_schedule", table["beta_schedule"], "a name")


def _steps(config: dict, place: Any) -> int:
    steps = config.get("num_train_timesteps", 1000)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 2 <= steps <= 10**6:
        raise refuse(place, "num_train_timesteps", steps, "a whole number from 2 to 1000000")
    return steps


def _between_0_and_1(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1


CLIPS = ("DDPM", "DDIM", "RePaint", "UnCLIP", "CogVideoX")  # classes that clip unless told not to


def _clip(config: dict, name: str, place: Any) -> float | None:
    clips = config.get("clip_sample", name.startswith(CLIPS))
    clips = False if clips is None else clips
    if not isinstance(clips, bool):
        raise refuse(place, "clip_sample", clips, "true or false")
    return number(place, config, "clip_sample_range", 1.0, above=0.0) if clips else None


def scheduler_table() -> str:
    """Every class as a row of a Markdown table: how it is read, or why it is refused."""
    words = {
        "table": "variance preserving, on the class's own `alphas_cumprod`",
        "edm": "variance exploding, preconditioned (Karras et al., 2022)",
        "ve": "variance exploding, the score as output",
        "flow": "rectified flow, the velocity ε - x_0 as output",
        "refused": "**refused**",
    }
    lines = ["| class | read as | heads | remarks |", "|---|---|---|---|"]
    for name in sorted(SCHEDULERS):
        found = SCHEDULERS[name]
        remark = found.why + (f"; needs `{found.package}`" if found.package else "")
        remark += "" if found.shipped else "; not shipped with diffusers"
        heads = ", ".join(found.heads) or "—"
        lines.append(f"| `{name}` | {words[found.kind]} | {heads} | {remark} |")
    return "\n".join(lines)
