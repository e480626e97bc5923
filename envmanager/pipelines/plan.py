"""A checked pipeline: what is read, what runs on it and what is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from envmanager.data.paths import DataFolder
from envmanager.errors import GA3EnvError, NotInstalled
from envmanager.modules import catalog
from envmanager.pipelines import arguments, builtin, loading, matching, references
from envmanager.pipelines.document import Document, Step
from envmanager.pipelines.problems import Problems, candidates
from envmanager.pipelines.references import Named
from envmanager.pipelines.targets import Target, without_outputs
from envmanager.pipelines.targets import check as check_targets
from envmanager.pipelines.variables import STEM, Variables
from ga3_nodes import home, weights
from ga3_nodes.home import ModuleEntry

Ref = tuple[int, str]  # the number of a step, from 0, and the name that it gives to its output


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is taken of each file, counted from 1; channels also by name. None takes all."""

    times: tuple[int, ...] | None = None
    slices: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    channels: tuple[int | str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Load:
    """The step that reads images.

    Attributes
    ----------
    output : Ref
        Where the image is found by later steps.
    pattern : str
        As the file gives it, with the variables filled in; several are joined by ``"; "``.
    files : tuple of Path
        The images that it matches, absolute, in natural order.
    base : Path
        The part of the pattern before its first wildcard: names of outputs are relative to it.
    """

    name: str
    output: Ref
    pattern: str
    files: tuple[Path, ...]
    base: Path
    selection: Selection


@dataclass(frozen=True, kw_only=True)
class Call:
    """A step that calls a module.

    Attributes
    ----------
    inputs : mapping of str to Ref
        The module's input -> the value that it gets.
    outputs : mapping of str to Ref
        The module's output -> the value that it makes.
    kinds : mapping of str to str
        The module's output -> ``labels``, ``image`` or ``table``.
    axes : mapping of str to tuple of str
        The module's input -> the orders of axes that it takes, such as ``yx``.
    parameters : mapping
        Complete and checked; weights are given by name or path, as the pipeline names them.
    loop : frozenset of str
        Of ``z`` and ``c``: the module gets one slice, one channel at a time.
    """

    name: str
    module: str
    function: str
    inputs: Mapping[str, Ref]
    outputs: Mapping[str, Ref]
    kinds: Mapping[str, str]
    axes: Mapping[str, tuple[str, ...]]
    parameters: Mapping[str, Any]
    loop: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Save:
    """A step that keeps something.

    Attributes
    ----------
    function : str
        One of `builtin.SAVING`.
    inputs : mapping of str to Ref
        The function's input (``image``, ``labels``, ``table``) -> the value that it gets.
    path : str
        Absolute, with the variables filled in; ``%STEM%`` may be in it, see `matching`.
    options : mapping
        What else the step gives, complete and checked.
    """

    name: str
    function: str
    inputs: Mapping[str, Ref]
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A pipeline that can run.

    Attributes
    ----------
    text : str
        The YAML as it was given.
    variables : mapping of str to str
        Those that the pipeline uses, with their values.
    warnings : tuple of str
        What is odd about it, in sentences.
    """

    name: str
    description: str
    load: Load
    calls: tuple[Call, ...]
    saves: tuple[Save, ...]
    text: str
    variables: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def check(document: Document, variables: Mapping[str, str], data: DataFolder) -> Plan:
    """Check all of a pipeline before any work.

    Parameters
    ----------
    variables : mapping of str to str
        What the command line gives, see `variables.given`; the environment is asked for others.

    Raises
    ------
    PipelineError
        ``details["problems"]`` holds all that is wrong, with lines.
    """
    return _Checker(document, variables, data).plan()


def output_folder(plan: Plan) -> Path:
    """Return the folder that the first save step saves to."""
    return matching.output_folder(plan.saves[0].path)


class _Checker:
    """Goes through the steps; what is wrong is noted, and the rest is checked as far as it goes."""

    def __init__(self, document: Document, known: Mapping[str, str], data: DataFolder) -> None:
        self._document, self._data = document, data
        self._variables = Variables(known)
        self._problems = Problems(document.problems)
        self._warnings: list[str] = []
        self._named = [Named(step.name, (), step.enabled) for step in document.steps]
        self._kinds: dict[Ref, str] = {}  # "" where it is not known
        self._used: set[Ref] = set()
        self._loads: list[Load] = []
        self._calls: list[Call] = []
        self._saves: list[tuple[Step, Save]] = []

    def plan(self) -> Plan:
        """Return the plan, or raise all problems."""
        document = self._document
        for number, step in enumerate(document.steps):
            if step.enabled:
                kinds = self._step(number, step)
                self._kinds |= {(number, name): kind for name, kind in (kinds or {}).items()}
                outputs = step.outputs if kinds is None else tuple(kinds)
                self._named[number] = Named(step.name, outputs)
        self._check_roles()
        if self._loads:
            self._loads[0] = self._check_targets(self._loads[0])
        self._problems.raise_any(document.path)
        self._warn_of_unused()
        return Plan(
            name=document.name,
            description=document.description,
            load=self._loads[0],
            calls=tuple(self._calls),
            saves=tuple(save for _, save in self._saves),
            text=document.text,
            variables=dict(self._variables.used),
            warnings=tuple(self._warnings),
        )

    def _step(self, number: int, step: Step) -> dict[str, str] | None:
        """Check a step; return the kinds of its outputs by the names that the file uses.

        None where they are not known, since it is told already what is wrong with the step.
        """
        if step.module != builtin.MODULE:
            return self._call(number, step)
        if step.loop:
            self._problem(step, "loop", "'loop' is for the steps of modules.", "Delete the line.")
        if step.function == builtin.LOAD:
            return self._load(number, step)
        if step.function in builtin.SAVING:
            self._save(number, step)
            return {}
        what = f"has no function {step.function!r}" if step.function else "needs a function"
        hint = candidates(step.function, builtin.FUNCTIONS, "Its functions")
        self._problem(step, "function", f"{builtin.MODULE} {what}.", hint)
        return None

    def _problem(self, step: Step, key: str, message: str, hint: str = "") -> None:
        self._problems.add(step.line_of(key), step.name, message, hint)

    def _reference(self, number: int, step: Step, key: str) -> Ref | None:
        text = step.inputs[key]
        if not references.is_reference(text):
            return None
        with self._problems.caught(step.line_of(f"inputs.{key}"), step.name):
            found = references.find(str(text), self._named, number)
            self._used.add(found)
            return found
        return None

    def _load(self, number: int, step: Step) -> dict[str, str]:
        if step.outputs and len(step.outputs) > 1:
            self._problem(step, "outputs", "this step has one output.", "Give one name.")
        if any(_loads(one) for one in self._document.steps[:number]):
            self._problem(
                step,
                "function",
                "a pipeline reads images in one step, and this is a second one.",
                "Give the first one a list of patterns, or make two pipelines.",
            )
        name = (step.outputs or (builtin.LOADED,))[0]
        source = loading.check(step, self._document.folder, self._variables, self._problems)
        if source:
            self._loads.append(
                Load(
                    name=step.name,
                    output=(number, name),
                    pattern=source.pattern,
                    files=source.files,
                    base=source.base,
                    selection=Selection(**source.selection),
                )
            )
        return {name: builtin.IMAGE}

    # ---- modules --------------------------------------------------------------------------------

    def _call(self, number: int, step: Step) -> dict[str, str] | None:
        if not step.module:  # told already
            return None
        name, functions, entry = self._module(step)
        function = step.function or next(iter(functions), "")
        if function not in functions:
            if functions:
                hint = candidates(function, list(functions), "Its functions")
                self._problem(step, "function", f"{name} has no function {function!r}.", hint)
            for key in step.inputs:
                self._reference(number, step, key)
            return None
        spec = functions[function]
        outputs = self._outputs(step, spec["outputs"])
        kinds = {key: str(output["kind"]) for key, output in spec["outputs"].items()}
        groups = [(key,) for key in spec["inputs"]]
        keys = arguments.sort(step, groups, (), spec["parameters"], self._problems)
        call = Call(
            name=step.name,
            module=name,
            function=function,
            inputs=self._inputs(number, step, keys.arrays, _accepted(spec["inputs"])),
            outputs={key: (number, given) for key, given in outputs.items()},
            kinds=kinds,
            axes={key: tuple(one["axes"]) for key, one in spec["inputs"].items()},
            parameters=self._parameters(step, keys.parameters, spec["parameters"], entry),
            loop=step.loop,
        )
        self._check_loop(step, call)
        self._warn_of_labels(call, spec["inputs"])
        self._calls.append(call)
        return {given: kinds[key] for key, given in outputs.items()}

    def _module(self, step: Step) -> tuple[str, Mapping[str, Any], ModuleEntry | None]:
        """Return a module's name, functions and entry; of one that is not installed as declared."""
        known = catalog.names(self._data)
        name = step.module
        node = re.fullmatch(r"ga3_(.+)_node", name)
        if node and name not in known:
            name = node[1]
        try:
            entry = home.published(name)
        except NotInstalled as error:
            if name not in known:
                hint = candidates(name, [builtin.MODULE, *known], "Modules")
                self._problem(step, "module", f"there is no module {step.module!r}.", hint)
                return name, {}, None
            self._problem(step, "module", error.message, error.hint)
        except GA3EnvError as error:
            self._problem(step, "module", error.message, error.hint)
        else:
            return name, entry.functions, entry
        try:
            return name, catalog.find(name, self._data).functions, None
        except GA3EnvError:  # that it is not installed is told
            return name, {}, None

    def _inputs(
        self,
        number: int,
        step: Step,
        keys: Mapping[str, str],
        accepted: Mapping[str, Sequence[str]],
    ) -> dict[str, Ref]:
        found = {}
        for name, key in keys.items():
            ref = self._reference(number, step, key)
            if ref is None:
                continue
            found[name] = ref
            kind = self._kinds.get(ref, "")
            if kind and kind not in accepted[name]:
                takes = " or ".join(_A[one] for one in accepted[name])
                self._problem(
                    step,
                    f"inputs.{key}",
                    f"{key!r} takes {takes}, and {ref[1]!r} of {self._named[ref[0]].name!r}"
                    f" is {_A[kind]}.",
                    "Use save_table for it." if kind == builtin.TABLE else "Name another output.",
                )
        return found

    def _outputs(self, step: Step, declared: Iterable[str]) -> dict[str, str]:
        """Return the names of a module's outputs: those given by name, then by place."""
        own, given = list(declared), list(step.outputs or ())
        if len(given) > len(own):
            self._problem(
                step,
                "outputs",
                f"{len(given)} outputs are named, and there {_are(len(own))}.",
                f"The function gives: {', '.join(own)}.",
            )
        found = {name: name for name in own if name in given}
        free = [name for name in own if name not in found]
        others = [name for name in given if name not in found]
        found |= dict(zip(free, others, strict=False))
        return {name: found.get(name, name) for name in own}

    def _parameters(
        self,
        step: Step,
        keys: Mapping[str, str],
        declared: Mapping[str, Mapping[str, Any]],
        entry: ModuleEntry | None,
    ) -> dict[str, Any]:
        folder = self._document.folder
        found = arguments.values(step, keys, declared, self._variables, folder, self._problems)
        if found is None or entry is None:
            return found or {}
        named = [keys[k] for k, one in declared.items() if one["type"] == "weights" and k in keys]
        line = step.line_of(f"inputs.{named[0]}") if named else step.line
        with self._problems.caught(line, step.name):
            weights.resolve(entry.name, entry.title, declared, found, home.roots(entry.root))
        return found

    def _check_loop(self, step: Step, call: Call) -> None:
        for name, orders in call.axes.items():
            if not any(step.loop.isdisjoint(axes) for axes in orders):
                self._problem(
                    step,
                    "loop",
                    f"{name!r} cannot be given in pieces along {' and '.join(sorted(step.loop))}.",
                    f"The function takes {', '.join(orders)}.",
                )

    # ---- keeping --------------------------------------------------------------------------------

    def _save(self, number: int, step: Step) -> None:
        offered = builtin.SAVING[step.function]
        if step.outputs:
            self._problem(step, "outputs", "a step that saves has no outputs.", "Delete them.")
        keys = arguments.sort(
            step,
            offered.required,
            tuple(offered.inputs),
            offered.options,
            self._problems,
            (builtin.PATH,),
        )
        folder = self._document.folder
        values = arguments.values(
            step, keys.parameters, offered.options, self._variables, folder, self._problems
        )
        save = Save(
            name=step.name,
            function=step.function,
            inputs=self._inputs(number, step, keys.arrays, offered.inputs),
            path=self._path(step, offered.suffixes),
            options=values or {},
        )
        self._saves.append((step, save))

    def _path(self, step: Step, suffixes: tuple[str, ...]) -> str:
        """Return where a step saves; empty where it gives no usable path."""
        given = step.inputs.get(builtin.PATH)
        if not isinstance(given, str) or not given.strip() or references.is_reference(given):
            hint = f'Such as: path: "%OUTPUT_DIR%/%STEM%{suffixes[0]}"'
            self._problem(step, "inputs.path", "the input 'path' needs the name of a file.", hint)
            return ""
        with self._problems.caught(step.line_of("inputs.path"), step.name):
            text = self._variables.resolve(given, keep=(STEM,))
            path = matching.absolute(text, self._document.folder)
            if Path(path).suffix.lower() in suffixes:
                return path
            self._problem(
                step,
                "inputs.path",
                f"{step.function} cannot write {Path(path).name!r}.",
                f"Let its name end with {' or '.join(suffixes)}.",
            )
        return ""

    # ---- the whole ------------------------------------------------------------------------------

    def _check_roles(self) -> None:
        document = self._document
        enabled = [step for step in document.steps if step.enabled]
        line = document.steps[0].line if document.steps else 1
        if document.steps and not any(_loads(step) for step in enabled):
            self._problems.add(
                line, "", "no step reads images.", f"Begin with {builtin.MODULE}: {builtin.LOAD}."
            )
        if document.steps and not any(step.function in builtin.SAVING for step in enabled):
            self._problems.add(
                document.steps[-1].line,
                "",
                "nothing would be kept: no step saves.",
                f"Add a step of {builtin.MODULE} with one of: {', '.join(builtin.SAVING)}.",
            )

    def _check_targets(self, load: Load) -> Load:
        """Check all outputs; return the load step without what an earlier run has saved."""
        targets = [Target(step, save.path) for step, save in self._saves if save.path]
        files = without_outputs(load.files, load.base, targets)
        if left := len(load.files) - len(files):
            what = "1 image is" if left == 1 else f"{left} images are"
            self._warnings.append(f"{what} left out: they lie where the outputs go.")
        check_targets(targets, files, load.base, self._problems)
        return replace(load, files=files)

    def _warn_of_labels(self, call: Call, inputs: Mapping[str, Mapping[str, Any]]) -> None:
        for name, ref in call.inputs.items():
            is_image = inputs[name].get("kind") != builtin.LABELS
            if is_image and self._kinds.get(ref) == builtin.LABELS:
                self._warnings.append(
                    f"{call.name}: {name} takes an image and gets labels: the numbers of the"
                    " objects are its brightness."
                )

    def _warn_of_unused(self) -> None:
        for call in self._calls:
            step = self._document.steps[next(iter(call.outputs.values()))[0]]
            given = [ref for ref in call.outputs.values() if ref[1] in (step.outputs or ())]
            left = [name for number, name in given if (number, name) not in self._used]
            if not self._used & {*call.outputs.values()}:
                self._warnings.append(f"No step uses what {call.name} makes.")
            elif left:
                self._warnings.append(f"{call.name}: no step uses {', '.join(left)}.")


_A = {builtin.IMAGE: "an image", builtin.LABELS: "labels", builtin.TABLE: "a table"}


def _loads(step: Step) -> bool:
    return step.enabled and step.module == builtin.MODULE and step.function == builtin.LOAD


def _accepted(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return the kinds that a module's inputs accept.

    Labels can be looked at as an image, but an image has no numbers of objects.
    """
    return {
        name: (builtin.LABELS,)
        if one.get("kind") == builtin.LABELS
        else (builtin.IMAGE, builtin.LABELS)
        for name, one in inputs.items()
    }


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"
