import ArgumentParser
import NormaNormalization

struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Train the U-Net under one normalization.")

  @Option(
    help: NormHelp.one(default: "batch"),
    transform: { try Normalization(parsing: $0) })
  var norm: Normalization = .batch

  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Network") var network: NetworkOptions
  @OptionGroup(title: "Training") var training: TrainingCommandOptions
  @OptionGroup(title: "Output") var output: OutputOptions

  func run() throws {
    try Experiment(
      command: "train", norms: [norm], data: data, network: network, training: training,
      output: output
    ).run()
  }
}
