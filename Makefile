# One target a command. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

DATASET ?= cub
DATA ?=
SPLIT ?= train
BACKGROUND ?=
BACKBONE ?= vgg16
WEIGHTS ?= imagenet
RECIPE ?= default
DELTA ?= 0.80
VARIANT ?= bc-ct
SEED ?= 0
CACHE ?= cache
# Processes that share the work of masks and train-ct: one a GPU.
NPROC ?= 1
# The folder of a mask cache, for verify and inspect.
MASKS ?=
# Anything else a command takes, such as ARGS="--set epochs=20".
ARGS ?=
# For localize, pack and plot: a run's folder (or the beginning of its name); pictures; a result.
RUN ?=
PICTURES ?=
OUT ?= found
# For export: a mask cache or the folder of localize, and a format.
SOURCE ?=
FORMAT ?= coco

BCCT := $(BIN)/python -m pipelines
SHARED = $(if $(filter 1,$(NPROC)),$(BCCT),$(BIN)/python -m torch.distributed.run --standalone \
	--nproc-per-node $(NPROC) -m pipelines)
TARGETS = --dataset $(DATASET) --data "$(DATA)" --backbone $(BACKBONE) --weights "$(WEIGHTS)" \
	--seed $(SEED) --cache "$(CACHE)"
INPUTS = $(TARGETS) --background "$(BACKGROUND)"
# Only where it was given: train-ct refuses a folder of masks by another recipe than that.
GIVEN_RECIPE = $(if $(filter-out file,$(origin RECIPE)),--recipe $(RECIPE))
OF_MASKS = "$(MASKS)" $(if $(DATA),--data "$(DATA)" --dataset $(DATASET))
# Of the tables: DATA and BACKGROUND, or the small setting that lies in the folder SMALL.
TABLE_INPUTS = --cache "$(CACHE)" \
	$(if $(SMALL),--shared "$(SMALL)",--data "$(DATA)" --background "$(BACKGROUND)")
FIRST_DELTA = --delta $(firstword $(DELTA))

.PHONY: help install test faults scale bench lint demo real train-bc masks recipes verify inspect \
	check-backgrounds train-ct evaluate localize export compare table1 table2 table3 ablate-backgrounds

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: DATASET DATA SPLIT BACKGROUND BACKBONE WEIGHTS RECIPE DELTA VARIANT SEED"
	@echo "CACHE, NPROC (processes of masks and train-ct), MASKS (a folder, for verify and inspect), and"
	@echo "ARGS for any other option; 'make train-bc DATA=CUB_200_2011 ...'"

$(BIN)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@

install: $(BIN)/.installed ## Make .venv and install into it.

test: install ## Run the tests.
	$(BIN)/python -m pytest

faults: install ## Try many more kills and flipped bits than the tests do (about 20 minutes).
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fault_runs $(ARGS)

scale: install ## Measure a mask cache of ILSVRC's size (about 10 minutes, 0.8 GB for the time).
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.cache_scale $(ARGS)

bench: install ## Measure how fast everything is, as ratios on this machine (about 55 minutes).
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "grad-cam>=1.5"
	$(BCCT) bench --cache "$(CACHE)" $(ARGS)

lint: install ## Check the style, and the types of the public modules.
	$(BIN)/python -m flake8
	$(BIN)/python -m mypy

demo: install ## Run everything on the embedded data set (about 5 minutes).
	$(BCCT) demo --cache "$(CACHE)" $(ARGS)

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

train-bc: install ## Stage 1: train the background classifier.
	$(BCCT) train-bc $(INPUTS) $(ARGS)

masks: install ## Stage 1: make masks for SPLIT at each DELTA.
	$(SHARED) masks $(INPUTS) --split $(SPLIT) --recipe $(RECIPE) \
		$(foreach delta,$(DELTA),--delta $(delta)) $(ARGS)

recipes: install ## Measure the masks of several recipes, side by side.
	$(BCCT) recipes $(INPUTS) $(FIRST_DELTA) $(ARGS)

verify: install ## Check the mask cache MASKS; with DATA, its images too.
	$(BCCT) verify $(OF_MASKS) $(ARGS)

inspect: install ## Summarize the mask cache MASKS and draw a contact sheet; with DATA, its images.
	$(BCCT) inspect $(OF_MASKS) --cache "$(CACHE)" $(ARGS)

check-backgrounds: install ## Look for what is wrong with the pictures in BACKGROUND.
	$(BCCT) check-backgrounds "$(BACKGROUND)" $(TARGETS) $(ARGS)

train-ct: install ## Stage 2: train VARIANT under the cached masks.
	$(SHARED) train-ct $(INPUTS) $(GIVEN_RECIPE) $(FIRST_DELTA) --variant $(VARIANT) $(ARGS)

evaluate: install ## Localize with a trained VARIANT and write its report.
	$(BCCT) evaluate $(INPUTS) --recipe $(RECIPE) $(FIRST_DELTA) --variant $(VARIANT) $(ARGS)

localize: install ## Find objects in PICTURES with the model RUN; writes the folder OUT.
	$(BCCT) localize "$(RUN)" $(PICTURES) --out "$(OUT)" --cache "$(CACHE)" $(ARGS)

export: install ## Write the masks or boxes in SOURCE as FORMAT to OUT.
	$(BCCT) export "$(SOURCE)" --format $(FORMAT) --out "$(OUT)" --cache "$(CACHE)" $(ARGS)

compare: install ## Train VARIANT on cached, online and joint masks, side by side.
	$(BCCT) compare $(INPUTS) --recipe $(RECIPE) $(FIRST_DELTA) --variant $(VARIANT) $(ARGS)
