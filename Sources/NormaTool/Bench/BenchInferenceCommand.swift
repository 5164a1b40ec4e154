import ArgumentParser
import NormaModels
import NormaNN
import NormaNormalization
import NormaRecords
import NormaReport
import NormaTensor

/// Times the U-Net's prediction.
struct BenchInferenceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inference", abstract: "Time the U-Net's forward pass in evaluation mode, without gradients.",
    discussion: "Plain head, channels-last.")

  /// A form of the trained network to predict with.
  enum Variant: String, CaseIterable {
    /// As it was trained.
    case plain
    /// Batch normalization folded into the convolutions, and their weights packed.
    case folded

    /// The network in this form, or nil where the norm has none.
    func network(_ model: UNet, _ norm: Normalization) throws -> (any Layer)? {
      switch self {
      case .plain: return model
      case .folded:
        guard norm == .batch || norm == .none else { return nil }
        try model.foldNormalization()
        return model
      }
    }
  }

  @Option(
    help: NormHelp.list(default: "batch"),
    transform: CompareCommand.parseNorms)
  var norms: [Normalization] = [.batch]

  @Option(help: ArgumentHelp("Channels of the first level; every level doubles them.", valueName: "channels"))
  var width = 64

  @Option(help: ArgumentHelp("Height and width of the images; a multiple of 16.", valueName: "pixels"))
  var size = 512

  @Option(help: ArgumentHelp("Images per pass.", valueName: "count"))
  var batchSize = 1

  @Option(
    help: ArgumentHelp("float32, bfloat16 or both. (default: float32)", valueName: "list"),
    transform: BenchOptions.list)
  var dtypes: [BenchType] = [.float32]

  @Option(help: ArgumentHelp("Passes of every norm that count; the norms take turns.", valueName: "count"))
  var rounds = 10

  @OptionGroup var bench: BenchOptions

  func validate() throws {
    try BenchNetwork.check(width: width, size: size, batchSize: batchSize)
    try BenchOptions.check("--rounds", rounds, atMost: 10_000)
  }

  /// One norm in one type and form.
  struct Case: Encodable {
    let norm: String
    let variant: String
    let dtype: String
    let milliseconds: Spread
  }

  func run() throws {
    try bench.prepare()
    for norm in norms { try BenchNetwork.options(norm, width: width).validate() }
    let cases = try withoutGradients { try dtypes.flatMap(measure) }
    print(
      bench.json ? try jsonText(of: BenchRecord(benchmark: "inference", options: options, cases: cases)) : table(cases))
  }

  private func measure(_ dtype: BenchType) throws -> [Case] {
    let images = try BenchNetwork.images(
      batchSize: batchSize, size: size, dtype: dtype, generator: Generator(seed: 1))
    var contestants: [(norm: Normalization, variant: Variant, network: any Layer)] = []
    for norm in norms {
      for variant in Variant.allCases {
        let model = try BenchNetwork.make(norm, width: width)
        model.evaluate()
        if let network = try variant.network(model, norm) { contestants.append((norm, variant, network)) }
      }
    }
    let spreads = try Turns(rounds: rounds).milliseconds(
      contestants.map { contestant in { _ = try contestant.network(images) } })
    return zip(contestants, spreads).map {
      Case(norm: $0.norm.name, variant: $0.variant.rawValue, dtype: dtype.rawValue, milliseconds: $1)
    }
  }

  private func table(_ cases: [Case]) -> String {
    let rows = cases.map {
      [
        $0.norm, $0.variant, $0.dtype, fixed($0.milliseconds.median, 1), fixed($0.milliseconds.lowerQuartile, 1),
        fixed($0.milliseconds.upperQuartile, 1),
      ]
    }
    return """
      Forward pass of the U-Net of width \(width), \(batchSize) × \(size)×\(size), \(Runtime.threads) threads
      \(textTable(header: ["norm", "variant", "type", "ms", "lower quartile", "upper quartile"], rows: rows))
      """
  }

  private var options: [String: String] {
    [
      "norms": norms.map(\.name).joined(separator: ","), "width": "\(width)", "size": "\(size)",
      "batch-size": "\(batchSize)", "dtypes": dtypes.map(\.rawValue).joined(separator: ","), "rounds": "\(rounds)",
      "threads": "\(Runtime.threads)",
    ]
  }
}
