BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	last_seq BIGINT NOT NULL, 
	host TEXT, 
	pid INTEGER, 
	job_id TEXT, 
	restart_count INTEGER, 
	engine TEXT, 
	simulated BOOLEAN, 
	time_scale FLOAT, 
	gpus TEXT, 
	gpu_name TEXT, 
	argv TEXT, 
	env TEXT, 
	versions TEXT, 
	started_at FLOAT, 
	startup_s FLOAT, 
	unseen_phases TEXT, 
	last_at FLOAT, 
	last_t_s FLOAT, 
	idle_s FLOAT, 
	outcome TEXT, 
	phase TEXT, 
	reason TEXT, 
	decided_by TEXT, 
	evidence TEXT, 
	hint TEXT, 
	exit_code INTEGER, 
	killed TEXT, 
	ended_at FLOAT, 
	duration_s FLOAT, 
	CONSTRAINT pk_attempt PRIMARY KEY (id), 
	CONSTRAINT fk_attempt_run_id FOREIGN KEY(run_id) REFERENCES run (id) ON DELETE CASCADE, 
	CONSTRAINT uq_attempt_run_id_attempt UNIQUE (run_id, attempt)
);
INSERT INTO "attempt" VALUES(1,1,1,20,'gpu01',4711,'12_0',0,'vllm',0,1.0,'["0","1"]','NVIDIA H200','["vllm","serve","zai-org/GLM-4.6","--port","8000"]','{"VLLM_CACHE_ROOT":"/cache/it''s here"}','{"engine":"0.11.0"}',1790000000.0,250.0,'[]',1790003000.0,3000.0,NULL,'completed',NULL,'','','[]','',NULL,'[]',1790003000.0,3000.0);
CREATE TABLE fact (
	attempt_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	number FLOAT, 
	word TEXT, 
	switch BOOLEAN, 
	unit TEXT NOT NULL, 
	source TEXT NOT NULL, 
	evidence TEXT NOT NULL, 
	CONSTRAINT pk_fact PRIMARY KEY (attempt_id, seq), 
	CONSTRAINT fk_fact_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id) ON DELETE CASCADE
);
INSERT INTO "fact" VALUES(1,7,'load_s',155.0,NULL,NULL,'s','log','');
INSERT INTO "fact" VALUES(1,8,'weights_bytes_per_gpu',88691404800.0,NULL,NULL,'bytes','log','');
INSERT INTO "fact" VALUES(1,9,'attention_backend',NULL,'FLASH_ATTN',NULL,'','log','');
INSERT INTO "fact" VALUES(1,10,'compile_cache_hit',NULL,NULL,1,'','log','');
CREATE TABLE ingest_cursor (
	sweep_id INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	"offset" BIGINT NOT NULL, 
	stamp TEXT NOT NULL, 
	CONSTRAINT pk_ingest_cursor PRIMARY KEY (sweep_id, path), 
	CONSTRAINT fk_ingest_cursor_sweep_id FOREIGN KEY(sweep_id) REFERENCES sweep (id) ON DELETE CASCADE
);
INSERT INTO "ingest_cursor" VALUES(1,'sweep.json',0,'2204182-892-1795233519607983197');
INSERT INTO "ingest_cursor" VALUES(1,'jobs/0/job.json',0,'2204178-2295-1795233519607313467');
INSERT INTO "ingest_cursor" VALUES(1,'jobs/0/submission.json',0,'2204183-128-1795233519622730119');
INSERT INTO "ingest_cursor" VALUES(1,'runs/eager-yes/attempt-1/events.jsonl',4833,'');
CREATE TABLE ingest_trouble (
	attempt_id INTEGER NOT NULL, 
	"offset" BIGINT NOT NULL, 
	message TEXT NOT NULL, 
	CONSTRAINT pk_ingest_trouble PRIMARY KEY (attempt_id, "offset"), 
	CONSTRAINT fk_ingest_trouble_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id) ON DELETE CASCADE
);
CREATE TABLE phase (
	attempt_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	phase TEXT NOT NULL, 
	start_s FLOAT NOT NULL, 
	budget_s FLOAT, 
	evidence TEXT NOT NULL, 
	CONSTRAINT pk_phase PRIMARY KEY (attempt_id, seq), 
	CONSTRAINT fk_phase_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id) ON DELETE CASCADE
);
INSERT INTO "phase" VALUES(1,1,'launch',0.0,3600.0,'');
INSERT INTO "phase" VALUES(1,2,'engine_init',4.0,NULL,'Initializing a V1 LLM engine');
INSERT INTO "phase" VALUES(1,3,'load_weights',20.0,900.0,'Starting to load model zai-org/GLM-4.6...');
INSERT INTO "phase" VALUES(1,4,'compile',175.0,1200.0,'Start compiling function');
INSERT INTO "phase" VALUES(1,5,'kv_cache',220.0,NULL,'GPU KV cache size: 1,234,560 tokens');
INSERT INTO "phase" VALUES(1,6,'warmup',230.0,NULL,'');
INSERT INTO "phase" VALUES(1,12,'ready',250.0,NULL,'');
INSERT INTO "phase" VALUES(1,13,'measure',251.0,NULL,'');
INSERT INTO "phase" VALUES(1,19,'teardown',2995.0,NULL,'');
CREATE TABLE run (
	id INTEGER NOT NULL, 
	sweep_id INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	variant_id TEXT NOT NULL, 
	repeat INTEGER NOT NULL, 
	axes TEXT NOT NULL, 
	engine TEXT NOT NULL, 
	model TEXT NOT NULL, 
	gpus INTEGER NOT NULL, 
	gpu_type TEXT, 
	nodes INTEGER NOT NULL, 
	samples_total INTEGER NOT NULL, 
	simulated BOOLEAN NOT NULL, 
	planned_only BOOLEAN NOT NULL, 
	idea BOOLEAN NOT NULL, 
	outcome TEXT, 
	reason TEXT NOT NULL, 
	not_run TEXT, 
	known_attempts INTEGER NOT NULL, 
	submission_id INTEGER, 
	array_index INTEGER, 
	server TEXT NOT NULL, 
	workloads TEXT NOT NULL, 
	CONSTRAINT pk_run PRIMARY KEY (id), 
	CONSTRAINT fk_run_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id) ON DELETE SET NULL, 
	CONSTRAINT fk_run_sweep_id FOREIGN KEY(sweep_id) REFERENCES sweep (id) ON DELETE CASCADE, 
	CONSTRAINT uq_run_sweep_id_label UNIQUE (sweep_id, label)
);
INSERT INTO "run" VALUES(1,1,'eager-yes',0,'e822d1497ae5',1,'{"eager":"yes"}','vllm','zai-org/GLM-4.6',8,'h200',1,3,0,0,0,NULL,'',NULL,0,1,0,'{"engine":"vllm","engine_version":null,"model":"zai-org/GLM-4.6","revision":null,"served_model_name":null,"settings":{"tensor_parallel_size":8,"pipeline_parallel_size":null,"data_parallel_size":null,"expert_parallel":null,"enforce_eager":null,"max_model_len":32768,"max_num_batched_tokens":null,"max_num_seqs":null,"kv_cache_dtype":null,"quantization":null,"gpu_memory_utilization":null,"prefix_caching":null,"chunked_prefill":null},"flags":{},"env":{"AXIS_EAGER":"yes"}}','[{"settings":{"name":"8k","dataset":{"kind":"samples"},"num_requests":null,"max_tokens":512,"arrival":{"request_rate":null,"process":"poisson","burstiness":1.0,"max_concurrency":1,"seed":0},"warmup":0,"endpoint":"chat","ignore_eos":true,"temperature":0.0,"seed":0,"repeats":1,"client":"builtin","slo":null,"extra_body":{}},"left_out":null,"samples":3,"sha256":"abababababababababababababababababababababababababababababababab"},{"settings":{"name":"64k","dataset":{"kind":"samples"},"num_requests":null,"max_tokens":512,"arrival":{"request_rate":null,"process":"poisson","burstiness":1.0,"max_concurrency":1,"seed":0},"warmup":0,"endpoint":"chat","ignore_eos":true,"temperature":0.0,"seed":0,"repeats":1,"client":"builtin","slo":null,"extra_body":{}},"left_out":"does not fit","samples":0,"sha256":null}]');
INSERT INTO "run" VALUES(2,1,'FP8 on one node',1,'',1,'{}','','',0,NULL,1,0,0,1,1,'not_run','no FP8 checkpoint at hand',NULL,0,NULL,NULL,'{}','[]');
CREATE TABLE sample_block (
	attempt_id INTEGER NOT NULL, 
	first_seq BIGINT NOT NULL, 
	result_id INTEGER NOT NULL, 
	samples INTEGER NOT NULL, 
	seq BLOB NOT NULL, 
	"index" BLOB NOT NULL, 
	sent_s BLOB NOT NULL, 
	prompt_tokens BLOB NOT NULL, 
	completion_tokens BLOB NOT NULL, 
	cached_tokens BLOB NOT NULL, 
	ttft_s BLOB NOT NULL, 
	e2e_s BLOB NOT NULL, 
	lateness_s BLOB NOT NULL, 
	warmup BLOB NOT NULL, 
	sample TEXT NOT NULL, 
	tokens_from TEXT NOT NULL, 
	finish_reason TEXT NOT NULL, 
	cold TEXT NOT NULL, 
	error TEXT NOT NULL, 
	error_detail TEXT NOT NULL, 
	itl_count BLOB NOT NULL, 
	itl_s BLOB NOT NULL, 
	CONSTRAINT pk_sample_block PRIMARY KEY (attempt_id, first_seq), 
	CONSTRAINT fk_sample_block_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id) ON DELETE CASCADE, 
	CONSTRAINT fk_sample_block_result_id FOREIGN KEY(result_id) REFERENCES workload_result (id) ON DELETE CASCADE
);
INSERT INTO "sample_block" VALUES(1,15,1,3,X'0F0000000000000010000000000000001100000000000000',X'000000000000000001000000000000000200000000000000',X'0000000000806F407E8E8F16678E6F40978DCEF9299D6F40',X'0000000000D4B7400000000000D4B7400000000000D4B740',X'000000000000304000000000000030400000000000003040',X'000000000000F87F000000000000F87F000000000000F87F',X'1AF7E6374C34D23FC8073D9B559FD23F8A9125732CEFCC3F',X'B9FB1C1F2DCEDC3FA032FE7DC685DD3F3049658A3908D93F',X'000000000000000000000000000000000000000000000000',X'000000','["8k-0","8k-1","8k-2"]','{"n": 3, "all": "usage"}','{"n": 3, "all": "length"}','["first_of_server",null,null]','{"n": 3, "all": null}','{"n": 3, "all": ""}',X'0F000000000000000F000000000000000F00000000000000',X'9BAD3C3C739E313CB1532C3CD099343C6D1C313CB5873D3CFCC82D3C3674333CCBF5363CE597413C185F343CA1142D3CD49C3C3C651B383C630C2C3C0B0D443CD0613E3C9065413C82FF2D3CB9C23B3C664C413CD9403A3C774E333C1822273CB20F323C7BDC373CD7C1413CA182433C6878333C6133403CDF373E3C31D0353C7B4C243CA56A3B3C18EA303CA4DF3E3CA1BA393C6EDF233CD102343C2844403CDCD52B3C567D2E3C535D403C44192A3C936F363C');
CREATE TABLE scheduler_status (
	submission_id INTEGER NOT NULL, 
	array_index INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	native TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	hint TEXT NOT NULL, 
	outcome TEXT, 
	exit_code INTEGER, 
	signal INTEGER, 
	node TEXT, 
	restarts INTEGER, 
	CONSTRAINT pk_scheduler_status PRIMARY KEY (submission_id, array_index), 
	CONSTRAINT fk_scheduler_status_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id) ON DELETE CASCADE
);
CREATE TABLE submission (
	id INTEGER NOT NULL, 
	sweep_id INTEGER NOT NULL, 
	job INTEGER NOT NULL, 
	job_id TEXT, 
	name TEXT NOT NULL, 
	is_array BOOLEAN NOT NULL, 
	submitted_at FLOAT, 
	cancelled TEXT NOT NULL, 
	resources TEXT NOT NULL, 
	script TEXT NOT NULL, 
	CONSTRAINT pk_submission PRIMARY KEY (id), 
	CONSTRAINT fk_submission_sweep_id FOREIGN KEY(sweep_id) REFERENCES sweep (id) ON DELETE CASCADE, 
	CONSTRAINT uq_submission_sweep_id_job UNIQUE (sweep_id, job)
);
INSERT INTO "submission" VALUES(1,1,0,'12','exp_runner-0001',0,1789999940.0,'[]','{"nodes":1,"gpus":8,"gpu_type":"h200","gpu_memory_bytes":null,"cpus":null,"memory_bytes":null,"walltime_s":7200.0}','#!/bin/bash
exec true
');
CREATE TABLE sweep (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	sweep_dir TEXT NOT NULL, 
	experiment TEXT NOT NULL, 
	title TEXT NOT NULL, 
	cluster TEXT NOT NULL, 
	scheduler TEXT NOT NULL, 
	submitted_at FLOAT NOT NULL, 
	simulated BOOLEAN NOT NULL, 
	axes TEXT NOT NULL, 
	baseline TEXT NOT NULL, 
	versions TEXT NOT NULL, 
	provenance TEXT NOT NULL, 
	profile TEXT NOT NULL, 
	definition TEXT NOT NULL, 
	CONSTRAINT pk_sweep PRIMARY KEY (id), 
	CONSTRAINT uq_sweep_name UNIQUE (name)
);
INSERT INTO "sweep" VALUES(1,'exp_runner-0001','/home/user/.hpcsweep/sweeps/exp_runner-0001','exp_runner','GLM-4.6 on 8x H200','h200','slurm',1789999940.0,0,'{"eager":["yes"]}','{"eager":"yes"}','{"hpcsweep":"0.1.0"}','{"git_revision":"0123abcd"}','{"scheduler":"slurm"}','{"name":"exp_runner","notes":["a note"],"objective":{"metric":"tps"}}');
CREATE TABLE telemetry (
	attempt_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	t_s FLOAT NOT NULL, 
	workload TEXT, 
	figures TEXT NOT NULL, 
	CONSTRAINT pk_telemetry PRIMARY KEY (attempt_id, seq), 
	CONSTRAINT fk_telemetry_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id) ON DELETE CASCADE
);
CREATE TABLE warning (
	attempt_id INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	t_s FLOAT NOT NULL, 
	message TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	CONSTRAINT pk_warning PRIMARY KEY (attempt_id, seq), 
	CONSTRAINT fk_warning_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id) ON DELETE CASCADE
);
CREATE TABLE workload_result (
	id INTEGER NOT NULL, 
	attempt_id INTEGER NOT NULL, 
	workload TEXT NOT NULL, 
	repeat INTEGER NOT NULL, 
	left_out TEXT, 
	client TEXT NOT NULL, 
	samples_total INTEGER NOT NULL, 
	cache_reset BOOLEAN, 
	started_s FLOAT, 
	samples_done INTEGER NOT NULL, 
	samples_failed INTEGER NOT NULL, 
	completion_tokens INTEGER NOT NULL, 
	first_sent_s FLOAT, 
	last_end_s FLOAT, 
	duration_s FLOAT, 
	completed INTEGER, 
	failed INTEGER, 
	failures TEXT, 
	warnings TEXT, 
	client_figures TEXT, 
	server_figures TEXT, 
	CONSTRAINT pk_workload_result PRIMARY KEY (id), 
	CONSTRAINT fk_workload_result_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempt (id) ON DELETE CASCADE, 
	CONSTRAINT uq_workload_result_attempt_id_workload_repeat UNIQUE (attempt_id, workload, repeat)
);
INSERT INTO "workload_result" VALUES(1,1,'8k',1,NULL,'builtin',3,1,252.0,3,0,48,252.0,253.302501,1.302501,3,0,'{}','[]','{}','{}');
CREATE INDEX ix_sample_block_result_id ON sample_block (result_id);
COMMIT;
