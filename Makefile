# One target per command. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# DATA is the data set's folder; DATASET its layout, where that cannot be recognized.
DATA ?=
DATASET ?=
SPLIT ?= train
BACKGROUND ?=
BACKBONE ?= vgg16
WEIGHTS ?= imagenet
# Of the background classifier; the same as BACKBONE and WEIGHTS if not given.
BC_BACKBONE ?=
BC_WEIGHTS ?=
BC_SEED ?= 0
RECIPE ?= default
DELTA ?= 0.80
VARIANT ?= bc-ct
# Seed of stage 2.
SEED ?= 0
CACHE ?= cache
# Processes that share the work of masks, refine-masks and train-ct: one per GPU.
NPROC ?= 1
# One of N independent jobs of masks, K/N with K from 0, and their end, N; see docs/scale.md.
PART ?=
FINISH ?=
# A mask cache, by folder or by the beginning of its name: for train-ct, verify and inspect.
MASKS ?=
# A training run, by folder or by the beginning of its name: for evaluate, localize and more.
RUN ?=
# Anything else that a command takes, such as ARGS="--set epochs=20".
ARGS ?=
# For localize: files and folders of pictures, and the folder of the result (found). For pack and
# export, OUT is the file or folder to write.
PICTURES ?=
OUT ?=
# For export: a mask cache or the folder of localize, and a format.
SOURCE ?=
FORMAT ?= coco

BCCT := $(BIN)/python -m pipelines
SHARED = $(if $(filter 1,$(NPROC)),$(BCCT),$(BIN)/python -m torch.distributed.run --standalone \
	--nproc-per-node $(NPROC) -m pipelines)
# Options with an empty variable are left out, so that the command's own message names what is missing.
option = $(if $(2),--$(1) "$(2)")
IMAGES = $(call option,data,$(DATA)) $(call option,dataset,$(DATASET))
TARGETS = $(IMAGES) --backbone $(BACKBONE) --weights "$(WEIGHTS)" \
	$(call option,bc-backbone,$(BC_BACKBONE)) $(call option,bc-weights,$(BC_WEIGHTS)) \
	$(GIVEN_BC_SEED) --cache "$(CACHE)"
STAGE1 = $(TARGETS) $(call option,background,$(BACKGROUND))
FIRST_DELTA = --delta $(firstword $(DELTA))
# Only if they were given: train-ct refuses named masks that were made otherwise, and a run decides.
given = $(if $(filter-out file,$(origin $(2))),--$(1) $($(2)))
GIVEN_BC_SEED = $(call given,bc-seed,BC_SEED)
GIVEN_SPLIT = $(call given,split,SPLIT)
GIVEN_VARIANT = $(call given,variant,VARIANT)
GIVEN_SEED = $(call given,seed,SEED)
GIVEN_RECIPE = $(call given,recipe,RECIPE)
TRAINING = $(STAGE1) $(GIVEN_RECIPE) $(FIRST_DELTA) --variant $(VARIANT) --seed $(SEED)
STAGE2 = $(TRAINING) $(call option,masks,$(MASKS))
# A finished run needs only the data set, and records where that is.
FINISHED = "$(RUN)" $(IMAGES) --cache "$(CACHE)"
# Inputs of the tables: DATA and BACKGROUND, or the small setting in the folder SMALL.
TABLE_INPUTS = --cache "$(CACHE)" $(if $(SMALL),--shared "$(SMALL)",$(call option,data,$(DATA)) \
	$(call option,background,$(BACKGROUND)))

.PHONY: help install test test-gpu faults scale bench lint demo real train-bc masks recipes sanity \
	verify inspect check-masks check-backgrounds train-ct evaluate refine-masks localize export plot \
	pack export-scoremaps list compare table1 table2 table3 ablate-backgrounds

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: DATA DATASET SPLIT BACKGROUND BACKBONE WEIGHTS BC_BACKBONE BC_WEIGHTS BC_SEED"
	@echo "RECIPE DELTA VARIANT SEED CACHE, NPROC (processes of masks, refine-masks and train-ct),"
	@echo "MASKS (a mask cache), RUN (a training run), and ARGS for any other option:"
	@echo "'make masks DATA=birds BACKGROUND=backgrounds ARGS=\"--image-size 320\"'"

$(BIN)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@

install: $(BIN)/.installed ## Make .venv and install into it.

test: install ## Run the tests, on all cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 $(ARGS)

lint: install ## Check the style and the types.
	$(BIN)/python -m flake8
	$(BIN)/python -m mypy

test-gpu: install ## Run the tests that need a GPU, and measure both stages on it (under 10 minutes).
	$(BIN)/python -m pytest -rs tests/test_gpu.py
	$(BCCT) bench --gpu --images 2000 --cache "$(CACHE)" $(ARGS)

faults: install ## Try many more kills, flipped bits and crafted files than the tests do.
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fault_runs $(ARGS)

scale: install ## Measure a mask cache of ILSVRC's size (about 10 minutes, 0.8 GB of disk).
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.cache_scale $(ARGS)

bench: install ## Measure how fast everything is, as ratios on this machine (an hour or more).
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "grad-cam>=1.5"
	$(BCCT) bench --cache "$(CACHE)" $(ARGS)

demo: install ## Run everything on the embedded data set (about 5 minutes).
	$(BCCT) demo --cache "$(CACHE)" $(ARGS)

train-bc: install ## Stage 1: train the background classifier.
	$(BCCT) train-bc $(STAGE1) $(GIVEN_RECIPE) $(ARGS)

masks: install ## Stage 1: make masks for SPLIT at each DELTA.
	$(SHARED) masks $(STAGE1) --split $(SPLIT) --recipe $(RECIPE) \
		$(foreach delta,$(DELTA),--delta $(delta)) \
		$(call option,part,$(PART)) $(call option,finish,$(FINISH)) $(ARGS)

verify: install ## Check the mask cache MASKS; with DATA, its images too.
	$(BCCT) verify "$(MASKS)" $(IMAGES) --cache "$(CACHE)" $(ARGS)

inspect: install ## Summarize the mask cache MASKS and draw a contact sheet; with DATA, its images.
	$(BCCT) inspect "$(MASKS)" $(IMAGES) --cache "$(CACHE)" $(ARGS)

check-masks: install ## Show what recurs in the mask cache MASKS, to name what is not the target.
	$(BCCT) check-masks "$(MASKS)" $(call option,data,$(DATA)) --cache "$(CACHE)" $(ARGS)

check-backgrounds: install ## Find problems with the pictures in BACKGROUND.
	$(BCCT) check-backgrounds "$(BACKGROUND)" $(TARGETS) $(ARGS)

train-ct: install ## Stage 2: train VARIANT under the cached masks.
	$(SHARED) train-ct $(STAGE2) $(ARGS)

evaluate: install ## Localize with RUN, or with the run that the settings made; write its report.
	$(BCCT) evaluate $(if $(RUN),$(FINISHED) $(GIVEN_VARIANT) $(GIVEN_SEED),$(STAGE2)) \
		$(GIVEN_SPLIT) $(ARGS)

refine-masks: install ## Make the training images' masks again with RUN, for train-ct MASKS=NAME.
	$(SHARED) refine-masks $(FINISHED) --split $(SPLIT) \
		$(foreach delta,$(DELTA),--delta $(delta)) $(ARGS)

localize: install ## Find objects in PICTURES with RUN; writes boxes, masks and a page to OUT.
	$(BCCT) localize "$(RUN)" $(PICTURES) --out "$(or $(OUT),found)" --cache "$(CACHE)" $(ARGS)

export: install ## Write the masks or boxes in SOURCE as FORMAT (coco, yolo, voc ...) to OUT.
	$(BCCT) export "$(SOURCE)" --format $(FORMAT) $(call option,out,$(OUT)) --cache "$(CACHE)" $(ARGS)

pack: install ## Put RUN into one file, OUT (ARGS=--onnx for ONNX).
	$(BCCT) pack "$(RUN)" $(call option,out,$(OUT)) --cache "$(CACHE)" $(ARGS)

plot: install ## Draw the losses of RUN.
	$(BCCT) plot "$(RUN)" --cache "$(CACHE)" $(ARGS)

export-scoremaps: install ## Write the score maps of RUN for other evaluation code to OUT.
	$(BCCT) export-scoremaps $(FINISHED) $(call option,out,$(OUT)) $(GIVEN_SPLIT) $(ARGS)

list: install ## Show the classifiers, masks, mask clusters and runs in CACHE.
	$(BCCT) list --cache "$(CACHE)" $(ARGS)

recipes: install ## Measure the masks of several recipes, side by side.
	$(BCCT) recipes $(STAGE1) $(FIRST_DELTA) $(ARGS)

sanity: install ## Measure what the background classifier is worth to each recipe.
	$(BCCT) recipes --sanity $(STAGE1) $(FIRST_DELTA) $(ARGS)

compare: install ## Train VARIANT on cached, online and joint masks, side by side.
	$(BCCT) compare $(TRAINING) $(ARGS)

real: install ## Run everything on CUB birds in ../shared and print the main table.
	$(BCCT) real --cache "$(CACHE)" $(ARGS)

table1: install ## Fill the paper's Table 1 (DATA=ILSVRC; or SMALL=../shared).
	$(BCCT) table1 $(TABLE_INPUTS) $(ARGS)

table2: install ## Fill the paper's Table 2 (DATA=CUB_200_2011; or SMALL=../shared).
	$(BCCT) table2 $(TABLE_INPUTS) $(ARGS)

table3: install ## Fill the paper's Table 3: BC-CT for each delta.
	$(BCCT) table3 $(TABLE_INPUTS) $(ARGS)

ablate-backgrounds: install ## Try 1, 5, 20, 100 and all background images.
	$(BCCT) ablate-backgrounds $(TABLE_INPUTS) $(ARGS)
