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
    # vLLM: docs/models.md says what each is for, and which of its model runners has it.
    "vllm.v1.engine.async_llm.AsyncLLM.from_vllm_config",
    "vllm.v1.engine.async_llm.AsyncLLM.errored",
    "vllm.v1.engine.async_llm.AsyncLLM.shutdown",
    "vllm.v1.engine.async_llm.AsyncLLM.add_lora",
    "vllm.lora.request.LoRARequest",
    "vllm.lora.peft_helper.PEFTHelper.validate_legal",
    "vllm.config.lora.MaxLoRARanks",
    "vllm.v1.engine.core_client.BackgroundResources.ctx",
    "vllm.v1.engine.utils.wait_for_engine_startup",
    "vllm.usage.usage_lib.UsageContext.ENGINE_CONTEXT",
    "vllm.inputs.engine.tokens_input",
    "vllm.config.vllm.VllmConfig.use_v2_model_runner",
    "vllm.config.model.ModelConfig.logits_processors",
    "vllm.v1.sample.logits_processor.interface.LogitsProcessor",
    "vllm.v1.sample.logits_processor.builtin.process_dict_updates",
    "vllm.v1.worker.gpu.sample.gumbel.murmur3_hash32",
    "vllm.sampling_params.SamplingParams.seed",
    "vllm.sampling_params.SamplingParams.extra_args",
    "vllm.sampling_params.SamplingParams.logprob_token_ids",
    "vllm.sampling_params.SamplingParams.prompt_logprobs",
    "vllm.sampling_params.SamplingParams.skip_clone",
    "vllm.pooling_params.PoolingParams.skip_reading_prefix_cache",
    "vllm.pooling_params.PoolingParams.use_activation",
    "vllm.engine.arg_utils.EngineArgs.kv_cache_memory_bytes",
    "vllm.engine.arg_utils.EngineArgs.logprobs_mode",
    "vllm.engine.arg_utils.EngineArgs.pooler_config",
    "vllm.engine.arg_utils.EngineArgs.worker_extension_cls",
    "vllm.envs.VLLM_BATCH_INVARIANT",
    "vllm.envs.VLLM_LOGGING_STREAM",
    "vllm.envs.VLLM_ENABLE_V1_MULTIPROCESSING",
    "vllm.envs.VLLM_CPU_OMP_THREADS_BIND",
    "vllm.envs.VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS",
    "vllm.v1.attention.backend.MultipleOf",
    "vllm.v1.attention.backends.cpu_attn.CPUAttentionBackend",
    "vllm.v1.attention.backends.registry.AttentionBackendEnum",
    "vllm.v1.attention.backends.registry.register_backend",
    # Whether a CPU has AMX.
    "torch.cpu._is_amx_tile_supported",
    # The longest wait between two attempts of a request.
    "openai._base_client.BaseClient._calculate_retry_timeout",
    # Which attention a model uses.
    "transformers.configuration_utils.PreTrainedConfig._attn_implementation",
)
