"""Node scripts for the tests of the stand-in, made of the parts that a test is about."""

from textwrap import dedent, indent

SIGNATURES = {
    6: ("output(inp, out)", "build(loops)", "run(inp, out, ctx)"),
    7: ("output(inp, out, par)", "build(par, loops)", "run(inp, out, par, ctx)"),
}
GUARDS = {
    6: "limnode.child_main(run, output, build)",
    7: "from limnode import print\n    limnode.child_main(run, output, build)",
}
OBJECTS = "out[0].makeNew('cells', '#00FF00').makeInt32()"


def make_script(run="pass", *, output=OBJECTS, build="return None", head="", version=6):
    """Return the text of a node; the functions' bodies are given without their indentation."""
    signatures = SIGNATURES[version]
    bodies = (output, build, run)
    functions = [
        f"def {signature}:\n{indent(dedent(body).strip(), '    ')}\n"
        for signature, body in zip(signatures, bodies, strict=True)
    ]
    return "\n".join(
        [
            "import limnode",
            dedent(head),
            *functions,
            f"if __name__ == '__main__':\n    {GUARDS[version]}\n",
        ]
    )
