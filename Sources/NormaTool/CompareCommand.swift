import ArgumentParser
import NormaNormalization
import NormaRecords

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Train the U-Net under several normalizations with equal weights, data and order, and compare.",
    discussion: """
      Without --images and --labels it uses a built-in synthetic stack that resembles electron microscopy.
      The output folder holds results.json, history-NORM.csv, weights-NORM.safetensors, predictions-NORM.tif and \
      overlays/NORM-slice-N.png.
      """)

  @Option(
    help: NormHelp.list(default: "batch,group,switchable"),
    transform: CompareCommand.parseNorms)
  var norms: [Normalization] = [.batch, .group(groups: nil), .switchable]

  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Network") var network: NetworkOptions
  @OptionGroup(title: "Training") var training: TrainingCommandOptions
  @OptionGroup(title: "Output") var output: OutputOptions

  static func parseNorms(_ text: String) throws -> [Normalization] {
    let norms = try text.split(separator: ",").map { try Normalization(parsing: String($0)) }
    guard !norms.isEmpty else { throw ValidationError("at least one normalization is needed") }
    guard Set(norms).count == norms.count else {
      throw ValidationError("'\(text)' names a normalization twice")
    }
    return norms
  }

  func run() throws {
    try Experiment(
      command: "compare", norms: norms, data: data, network: network, training: training, output: output
    ).run()
  }
}
