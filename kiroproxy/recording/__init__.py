"""The flight recorder: the last failed exchanges, kept for a look and for a replay.

While a request is answered, its `Tape` holds references to what passes by anyway (`tape`); most
tapes are thrown away. That of a failed exchange is cleared of secrets (`redaction`), becomes a
`Recording` (`document`) and a file in a bounded directory (`folder`), away from the event loop
(`recorder`). `script` turns a recording into what the simulator plays.
"""
