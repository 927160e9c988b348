"""The private names of libraries that are used here: a new version may remove them without notice.

The versions are pinned (pyproject.toml). Before a pin is raised, ``tests/actors/test_private_names.py`` shows
which of these no longer exist. A name is that of its definition, which a subclass or a package may re-export.
"""

PRIVATE_NAMES = (
    # The setting that keeps Ray's processes on loopback, which this process has read already.
    "ray._private.ray_constants.ENABLE_RAY_CLUSTER",
    "ray._private.ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR",
    # Starting Ray's processes in sessions of theirs.
    "ray._private.services.ConsolePopen",
    # Whether a Ray answers: found within seconds, where ray.init would try for minutes.
    "ray._common.utils.get_ray_address_file",
    "ray._private.services.find_gcs_addresses",
    "ray._private.grpc_utils.init_grpc_channel",
    "ray.core.generated.gcs_service_pb2_grpc.NodeInfoGcsServiceStub",
    # Where Ray's sockets would be, whose paths may be too long.
    "ray._common.utils.get_default_system_temp_dir",
    # Starting and ending vLLM, and closing the context that it leaves open.
    "vllm.v1.engine.async_llm.AsyncLLM.from_vllm_config",
    "vllm.v1.engine.async_llm.AsyncLLM.errored",
    "vllm.v1.engine.async_llm.AsyncLLM.shutdown",
    "vllm.v1.engine.core_client.BackgroundResources.ctx",
    "vllm.usage.usage_lib.UsageContext.ENGINE_CONTEXT",
    # Tokens in, without a tokenizer.
    "vllm.inputs.engine.tokens_input",
    # Sampling a token by its position in the text.
    "vllm.v1.sample.logits_processor.interface.LogitsProcessor",
    "vllm.v1.sample.logits_processor.builtin.process_dict_updates",
    # Blocks of 16 tokens on a CPU, where they cost nothing.
    "vllm.v1.attention.backend.MultipleOf",
    "vllm.v1.attention.backends.cpu_attn.CPUAttentionBackend",
    "vllm.v1.attention.backends.registry.AttentionBackendEnum",
    "vllm.v1.attention.backends.registry.register_backend",
    "torch.cpu._is_amx_tile_supported",
    # The longest wait between two attempts of a request.
    "openai._base_client.BaseClient._calculate_retry_timeout",
    # Which attention a model uses.
    "transformers.configuration_utils.PreTrainedConfig._attn_implementation",
)
