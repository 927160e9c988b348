"""Policies and reward models of the transformers library, computed in this process.

Below it is a small inference engine (here and in ``actors/batching``), where a
server such as vLLM could be asked. It is kept for one promise that no server keeps on a CPU: the same bits
for a row whatever is batched with it, however its prefix was computed, and after a restart. Therefore a run
gives the same answers with any number of replicas, retried or resumed, on a laptop too; and the shipped
models need nothing but torch. For speed there is ``engine=vllm``.
"""
