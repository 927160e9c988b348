"""Policies and reward models of the transformers library, computed in this process.

This package and ``actors/batching`` are a small inference engine. It exists beside servers such as vLLM for
one property that no server has on a CPU: a row gives the same bits with any batch, any computation of its
prefix, and after a restart. A run therefore gives the same answers with any number of replicas, retried or
resumed, on a laptop too, and the shipped models need only torch. For speed there is ``engine=vllm``.
"""
