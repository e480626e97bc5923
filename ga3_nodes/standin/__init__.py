"""Our stand-in for NIS-Elements: runs a GA3 node script as NIS does, without NIS.

`embedded.EmbeddedNis` and `out_of_process.OutOfProcessNis` share one interface (`nis.Nis`).
`limnode` is our own small version of the vendor's module of that name. On the command line:
``python PATH/TO/ga3_nodes/standin --script FILE --input in.npy --output-dir DIR``.
"""
