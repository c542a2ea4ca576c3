#!/bin/sh
# Remakes results/feasible.json: sh results/feasible.sh DATA_ROOT CIFAR_JPEG_ROOT [NOTE]
# DATA_ROOT holds MNIST/raw; CIFAR_JPEG_ROOT a JPEG copy of CIFAR-10 as train/CLASS/, test/CLASS/.
set -eu
out=$(dirname "$0")/feasible.json
limit() { ${HARDBALL:-hardball} limit "$@" --out "$out" ${note:+--note "$note"}; }
note=${3:-}
for part in train test both; do
    limit --data digits --split $part --eps '[0.1, 0.2, 0.25, 0.3, 0.4, 0.5]'
    limit --data mnist --data_root "$1" --split $part --eps '[0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5]'
done
limit --data digits --norm l2 --eps '[0.25, 0.5, 0.75, 1, 1.25]'
limit --data digits --norm l0 --eps '[5, 10, 12, 15]'
limit --data mnist --data_root "$1" --norm l2 --eps '[1, 1.5, 2, 2.5]'
limit --data mnist --data_root "$1" --norm l0 --eps '[20, 30, 40, 50]'
for part in test train; do
    limit --data folder --data_root "$2" --name cifar10-jpeg --split $part \
        --per 255 --eps '[4, 8, 16, 32, 64]'
done
