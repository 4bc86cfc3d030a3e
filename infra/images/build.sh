#!/usr/bin/env bash
# Builds images from the files that git knows: infra/images/build.sh [IMAGE ...], by default all four. Needs BuildKit.
#
#   TAG=0.1.0             tag of the images, by default the commit
#   PREFIX=registry/org/  before their names
#   BASE_IMAGE=...        by default python:3.11-slim-bookworm; in production by digest
#   TORCH_INDEX=...       extra index that holds another PyTorch build, for example one without CUDA
#   PIP_CONF=FILE         pip's configuration, as a build secret
#   SBOM=FOLDER           where NAME.cdx.json is put for each image, by default dist/
set -eu -o pipefail
cd "$(dirname "$0")/../.."

declare -A EXTRAS=(
  [pipeline-data]="data governance"
  [pipeline-train]="data train governance"
  [pipeline-serve]="train serve"
  [airflow]="airflow server"
)
# What weasyprint draws the pack's PDF with.
declare -A SYSTEM=([pipeline-data]="libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core")
commit="${COMMIT:-$(git describe --always --dirty --abbrev=40 --exclude '*')}"
tag="${TAG:-${commit:0:12}}"
lock="sha256:$(sha256sum constraints.txt | cut -d' ' -f1)"
sboms="${SBOM:-dist}"
mkdir -p "$sboms"

for name in "${@:-pipeline-data pipeline-train pipeline-serve airflow}"; do
  for image in $name; do
    full="${PREFIX:-}$image:$tag"
    git ls-files -z | tar --null --files-from=- --create | DOCKER_BUILDKIT=1 docker build --quiet \
      --file infra/images/Dockerfile \
      ${BUILD_NETWORK:+--network "$BUILD_NETWORK"} \
      ${BASE_IMAGE:+--build-arg BASE_IMAGE="$BASE_IMAGE"} \
      ${TORCH_INDEX:+--build-arg TORCH_INDEX="$TORCH_INDEX"} \
      ${PIP_FIND_LINKS:+--build-arg PIP_FIND_LINKS="$PIP_FIND_LINKS"} \
      ${PIP_CONF:+--secret id=pip,src="$PIP_CONF"} \
      --build-arg EXTRAS="${EXTRAS[$image]}" \
      --build-arg SYSTEM="${SYSTEM[$image]:-}" \
      --build-arg COMMIT="$commit" \
      --build-arg LOCK_DIGEST="$lock" \
      --tag "$full" - > /dev/null
    made="$(docker create "$full" true)"
    docker cp "$made:/opt/plumbline/sbom.cdx.json" "$sboms/$image.cdx.json" > /dev/null
    docker rm "$made" > /dev/null
    echo "$full $(docker image inspect --format '{{.Id}}' "$full")"
  done
done
