"""Files as score_sde_pytorch writes them, built from its layout alone: names, order and shapes, with weights that need
no random numbers."""

import math
from collections import OrderedDict

import torch

CIFAR = {
    "nf": 32,
    "ch_mult": (1, 2, 2, 2),
    "num_res_blocks": 1,
    "attention": 16,
    "size": 32,
    "block": "biggan",
    "embedding": "positional",
    "fir": True,
    "input": "none",
    "output": "none",
}


def unet(**fields):
    """Names and shapes of NCSN++, DDPM++ and DDPM, in the order of their ``state_dict``."""
    c = CIFAR | fields
    nf, mult, blocks, biggan = c["nf"], c["ch_mult"], c["num_res_blocks"], c["block"] == "biggan"
    modules = []

    def dense(name, inputs, outputs):
        return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}

    def conv(name, inputs, outputs, size=3):
        return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}

    def norm(name, channels):
        return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}

    def nin(name, inputs, outputs):
        return {f"{name}.W": (inputs, outputs), f"{name}.b": (outputs,)}

    def bare(layer):
        return {name.lstrip("."): shape for name, shape in layer.items()}

    def block(inputs, outputs, resample=False):
        layers = norm("GroupNorm_0", inputs) | conv("Conv_0", inputs, outputs) | dense("Dense_0", 4 * nf, outputs)
        layers |= norm("GroupNorm_1", outputs) | conv("Conv_1", outputs, outputs)
        if inputs != outputs or resample:
            layers |= conv("Conv_2", inputs, outputs, 1) if biggan else nin("NIN_0", inputs, outputs)
        modules.append(layers)

    def attention(channels):
        layers = norm("GroupNorm_0", channels)
        for i in range(4):
            layers |= nin(f"NIN_{i}", channels, channels)
        modules.append(layers)

    def write(inputs, outputs):
        modules.extend([bare(norm("", inputs)), bare(conv("", inputs, outputs))])

    resampled = "Conv2d_0" if c["fir"] else "Conv_0"
    if c["embedding"] == "fourier":
        modules.append({"W": (nf,)})
    modules.append(bare(dense("", 2 * nf if c["embedding"] == "fourier" else nf, 4 * nf)))
    modules.extend([bare(dense("", 4 * nf, 4 * nf)), bare(conv("", 3, nf))])
    width, skips, beside = nf, [nf], 3
    for i, m in enumerate(mult):
        for _ in range(blocks):
            block(width, m * nf)
            width = m * nf
            if c["size"] >> i == c["attention"]:
                attention(width)
            skips.append(width)
        if i < len(mult) - 1:
            if biggan:
                block(width, width, resample=True)
            else:
                modules.append(conv("Conv_0", width, width))
            if c["input"] == "skip":
                modules.append(conv("Conv_0", 3, width, 1))
            elif c["input"] == "residual":
                modules.append(conv(resampled, beside, width))
                beside = width
            skips.append(width)
    block(width, width)
    attention(width)
    block(width, width)
    for i, m in reversed(list(enumerate(mult))):
        for _ in range(blocks + 1):
            block(width + skips.pop(), m * nf)
            width = m * nf
        if c["size"] >> i == c["attention"]:
            attention(width)
        if c["output"] == "skip":
            write(width, 3)
        if i > 0:
            if biggan:
                block(width, width, resample=True)
            else:
                modules.append(conv("Conv_0", width, width))
    if c["output"] == "none":
        write(width, 3)
    named = {f"all_modules.{i}.{name}": shape for i, layers in enumerate(modules) for name, shape in layers.items()}
    return {"sigmas": (1000,)} | named


def refinenet(nf=32, ch_mult=(1, 2, 2, 2)):
    """Names and shapes of NCSNv2, in the order of its ``state_dict``."""
    widths = [m * nf for m in ch_mult]
    levels = ["1", "2", "3", "31", "4", "5"] if len(widths) == 6 else [str(i + 1) for i in range(len(widths))]
    refines = ["1", "2", "31", "3", "4", "5"] if len(widths) == 6 else levels
    names = {"sigmas": (232,)}

    def conv(name, inputs, outputs, size=3, bias=True):
        names[f"{name}.weight"] = (outputs, inputs, size, size)
        if bias:
            names[f"{name}.bias"] = (outputs,)

    def norm(name, channels):
        names.update({f"{name}.{part}": (channels,) for part in ("alpha", "gamma", "beta")})

    def units(name, channels, count):
        for i in range(count):
            for j in range(2):
                conv(f"{name}.{i + 1}_{j + 1}_conv", channels, channels, bias=False)

    conv("begin_conv", 3, nf)
    norm("normalizer", nf)
    conv("end_conv", nf, 3)
    before = nf
    for i, (level, width) in enumerate(zip(levels, widths, strict=True)):
        pooled = 0 < i < len(widths) - 2
        inside = ".conv" if pooled else ""
        for j in range(2):
            down = i > 0 and j == 0
            inputs, name = (before if j == 0 else width), f"res{level}.{j}"
            conv(f"{name}.conv1", inputs, inputs if down else width)
            norm(f"{name}.normalize2", inputs if down else width)
            conv(f"{name}.conv2{inside if down else ''}", inputs if down else width, width)
            if down:
                conv(f"{name}.shortcut{inside}", inputs, width, 1 if pooled else 3)
            norm(f"{name}.normalize1", inputs)
        before = width
    coarser = None
    for k, number in enumerate(refines):
        i = len(widths) - 1 - k
        inputs = [widths[i]] if coarser is None else [widths[i], coarser]
        out = widths[-1] if coarser is None else widths[max(i - 1, 0)]
        for n, width in enumerate(inputs):
            units(f"refine{number}.adapt_convs.{n}", width, 2)
        units(f"refine{number}.output_convs", out, 3 if i == 0 else 1)
        if coarser is not None:
            for n, width in enumerate(inputs):
                conv(f"refine{number}.msf.convs.{n}", width, out)
        for n in range(2):
            conv(f"refine{number}.crp.convs.{n}", out, out, bias=False)
        coarser = out
    return names


def weight(name, shape, phase):
    """Numbers that are neither random nor alike: about N(0, 1/inputs) for maps, near 1 for the weights of norms."""
    n = math.prod(shape)
    wave = torch.sin(torch.arange(n, dtype=torch.float64) ** 1.5 * 0.37 + phase).reshape(shape).float()
    if name.endswith(".0.W") and len(shape) == 1:
        return 16 * wave
    if len(shape) > 1:
        return wave * math.sqrt(2 / (shape[0] if ".NIN_" in name else n // shape[0]))
    return 0.2 * wave + (1 if name.endswith((".weight", ".gamma")) else 0)


def sigmas(top, count, least=0.01):
    """The table of noise levels that every file holds, falling."""
    return torch.linspace(math.log(top), math.log(least), count, dtype=torch.float64).exp()


def checkpoint(names, *, table, rate=0.9999, phase=0.0):
    """A file's content; the average is of other numbers than the model."""
    model = OrderedDict()
    for k, (name, shape) in enumerate(names.items()):
        model[f"module.{name}"] = table.clone() if name == "sigmas" else weight(name, shape, 1e3 + k)
        if name.endswith("0.W") and len(shape) == 1:
            model[f"module.{name}"] = weight(name, shape, phase + k)
    trained = [(k, name) for k, name in enumerate(names) if name not in ("sigmas", "all_modules.0.W")]
    shadow = [weight(name, names[name], phase + k) for k, name in trained]
    moment = {i: {"step": torch.tensor(5.0), "exp_avg": p * 0, "exp_avg_sq": p * 0} for i, p in enumerate(shadow)}
    group = {"lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}
    optimizer = {"state": moment, "param_groups": [group | {"params": list(range(len(shadow)))}]}
    ema = {"decay": rate, "num_updates": 5, "shadow_params": shadow}
    return {"optimizer": optimizer, "model": model, "ema": ema, "step": 5}


def picture(size, batch=2):
    """A batch that needs no random numbers."""
    n = batch * 3 * size * size
    return torch.sin(torch.arange(n, dtype=torch.float64) ** 1.5).reshape(batch, 3, size, size).float()
