import ArgumentParser

/// The benchmarks, one subcommand each.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure how fast norms, training steps and inference are on this machine.",
    discussion: """
      Run nothing else meanwhile. `make bench-peers` measures the same in other libraries, in turn with Norma \
      (Benchmarks/README.md).
      """,
    subcommands: [BenchNormCommand.self, BenchStepCommand.self, BenchInferenceCommand.self, BenchScaleCommand.self])
}
