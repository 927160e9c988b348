"""When two answers are the same, for grading and for votes.

The steps of reading a mathematical answer, with the file of each:

1. *A text*: ``tidy`` removes what only concerns its looks (``unicode`` writes signs as LaTeX), ``numbers``
   reads a number that is written out, which is the last step for most answers.
2. *Tokens*: ``scanning`` makes them, ``tokens`` has their values. ``units``,
   ``names`` and ``words`` say which of them are units, names and words, by the lists of
   ``vocabulary``.
3. *A formula* (``formula``, a tree): ``parser`` on ``atoms``,
   ``number_rules`` and ``cursor``. Its value: ``values``, with
   ``functions`` and ``arithmetic``.
4. *A form* (``forms``: what an answer is, and ``same``, whether two are the same answer):
   ``reader`` is the reader, which tries ``phrases``, ``joining`` (lists),
   ``relations`` (equations), ``brackets`` (points, sets, matrices) and ``scalars``
   (the value of a formula) in turn. ``spans`` are pieces of the number line.
5. *A grade or a vote*: ``graders``. What only sympy can compute goes to ``pool`` and its processes,
   ``worker``.

Integers (``integers``) and options (``letters``, ``labels``) have separate readers.
"""
