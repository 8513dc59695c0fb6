#!/bin/bash
# Makes shop-1.2.0.tgz and rendered.yaml with real helm, from the charts beside this file: a chart with a dependency, hooks,
# an operator's resource and an annotation that lists images. Run it by hand; the results are committed.
#
#	HELM=/path/to/helm ./make.sh
set -euo pipefail
cd "$(dirname "$0")"
helm=${HELM:-helm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data
cp -R charts "$work/charts"
"$helm" dependency update "$work/charts/shop"
"$helm" package "$work/charts/shop" --destination .
"$helm" template airgap shop-1.2.0.tgz --values values.yaml >rendered.yaml
"$helm" version --short >helm-version.txt
