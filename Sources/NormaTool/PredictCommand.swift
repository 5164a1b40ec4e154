import ArgumentParser
import NormaData
import NormaFormats
import NormaModels
import NormaNormalization
import NormaPrediction
import NormaReport
import NormaTensor

struct PredictCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "predict",
    abstract: "Apply a trained network: to a TIFF stack of any size, or to PNG pictures.",
    discussion: """
      Pages are read, predicted in overlapping tiles and written band by band, so they may be larger than memory. A page that \
      fits into one tile is predicted in one piece, as the training's validation does.

      Norms that take statistics of the image (instance, group, layer, switchable, rms, frn, evo) see a tile in the place of \
      the page. --statistics says what they use: those of every tile (tile), which are like those of the training's crops; the \
      page's as a first pass finds them (pooled); or the page's as if it were predicted in one piece (exact: a pass for every \
      such norm). Batch normalization has running \
      statistics and gives the same in tiles as in one piece; such networks, and exact statistics, take tiles larger than \
      twice what the network sees around a pixel.

      A classifier takes a PNG file or a folder of them and writes a table as CSV: the likeliest class and the probability of \
      every class. Style transfer takes the same and writes PNG files.
      """)

  @OptionGroup var model: ModelOptions

  @Argument(
    help: ArgumentHelp(
      "TIFF or BigTIFF file with the channels that the network was trained with; for classifiers and style transfer a PNG file or a "
        + "folder of them.", valueName: "input"),
    completion: .file())
  var input: String

  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "For the result: a TIFF file; of classifiers a CSV file; of style transfer a PNG file or, for a folder, a folder.",
      valueName: "path"), completion: .file())
  var output: String

  @Option(
    help: ArgumentHelp(
      """
      How probabilities are stored: float32, or uint8, where 255 stands for 1. Two classes: of the second; more: a channel per \
      class. (default: float32)
      """, valueName: "format"))
  var probabilities: Probabilities?

  @Flag(help: "Write label values, those of the training's labels, instead of probabilities.")
  var mask = false

  @Option(
    help: ArgumentHelp(
      "With --mask and two classes: the second is where its probability is larger. (default: 0.5)", valueName: "share"))
  var threshold: Double?

  @Option(
    help: ArgumentHelp(
      "Side of the tiles; a multiple of 16 for the U-Net of four poolings. (default: \(TilePredictor.Options().tile))",
      valueName: "pixels"))
  var tile: Int?

  @Option(
    help: ArgumentHelp(
      "The share of a tile that its neighbour has too, 0…0.5. (default: \(TilePredictor.Options().overlap))",
      valueName: "share"))
  var overlap: Double?

  @Option(
    help: ArgumentHelp(
      "gaussian or none: how overlapping tiles are joined. (default: gaussian, or none where tiles agree)",
      valueName: "name"))
  var blend: TileBlend?

  @Flag(name: .customLong("tta"), help: "Mean of the probabilities over the eight symmetries of the square.")
  var usesSymmetries = false

  @Option(
    help: ArgumentHelp(
      "tile, pooled or exact, for norms that take statistics of the image. (default: "
        + "\(TilePredictor.defaultStatistics.rawValue))", valueName: "name"))
  var statistics: TileStatistics?

  @Option(
    help: ArgumentHelp(
      "Which of the styles that a style network was trained for, from 1. (default: 1)", valueName: "number"))
  var style: Int?

  @Option(help: ArgumentHelp("cpu, cuda or cuda:N.", valueName: "name"))
  var device = "cpu"

  @Option(help: ArgumentHelp("Threads of one operator; default: as many as cores.", valueName: "count"))
  var threads: Int?

  @OptionGroup(title: "Messages") var logOptions: LogOptions

  enum Probabilities: String, ExpressibleByArgument, CaseIterable {
    case float32, uint8
    var format: SampleFormat { self == .float32 ? .float32 : .uint8 }
  }

  func validate() throws {
    try BenchOptions.check("--threads", threads ?? 1, atMost: 4096)
    try BenchOptions.check("--tile", tile ?? 1, atMost: 65_536)
    if mask, probabilities != nil {
      throw ValidationError("--mask writes labels in the place of --probabilities: give one of them.")
    }
    if let threshold {
      guard mask else { throw ValidationError("--threshold decides between labels; give --mask too.") }
      guard (0...1).contains(threshold) else {
        throw ValidationError("--threshold must be in 0…1, got \(threshold).")
      }
    }
  }

  func run() throws {
    logOptions.start()
    try Runtime.check()
    _ = try InstructionSet.current.get()
    TensorMemory.install(.keepingFreedBlocks)
    if let threads { Runtime.threads = threads }
    let loaded = try model.load()
    try ToolError.check(output: output, isNone: [input, loaded.path])
    guard let unet = loaded.network as? UNet else { return try runOnImages(loaded) }
    if style != nil {
      throw ToolError("--style is for style transfer, the network in '\(loaded.path)' is a U-Net; leave it out")
    }
    if Folder.isFolder(input) || input.lowercased().hasSuffix(".png") {
      throw ToolError("norma predict reads TIFF stacks, got '\(input)'; save the images as one, such as by Fiji")
    }
    let network = unet.options
    guard network.dimensions == 2, network.margin == 0 else {
      throw ToolError(
        "norma predict takes networks of 2 dimensions with same padding, that of '\(loaded.path)' has \(network.dimensions) and "
          + "\(network.padding.rawValue) padding; use it by norma export --onnx")
    }
    let classes = max(2, network.outputChannels)
    if threshold != nil, classes > 2 {
      throw ToolError("--threshold is for two classes, the network has \(classes): the most probable one is taken")
    }
    var options = TilePredictor.Options()
    let tile = tile ?? options.tile
    (options.tile, options.overlap, options.blend) = (tile, overlap ?? options.overlap, blend)
    (options.statistics, options.usesSymmetries) = (statistics, usesSymmetries)
    options.device = try TrainingCommandOptions.device(named: device)
    let predictor = try TilePredictor(
      model: unet, extentMultiple: network.extentMultiple, receptiveRadius: network.receptiveRadius,
      options: options)
    let stack = try StackPrediction(
      input: input, channels: network.inputChannels, trained: GreyRange(metadata: loaded.metadata), predictor: predictor
    )
    let result: StackPrediction.Output =
      mask
      ? .labels(try labelValues(loaded, classes), threshold: Float(threshold ?? 0.5))
      : .probabilities((probabilities ?? .float32).format)

    if let statistics, predictor.statistics == nil {
      log.warning(
        """
        --statistics \(statistics.rawValue) changes nothing: \(network.normalization.name) takes none of the image
        """)
    }
    if let trained = GreyRange(metadata: loaded.metadata), trained.format != stack.greyRange.format {
      log.warning(
        """
        the network was trained on \(trained.format.rawValue) images, these are \(stack.greyRange.format.rawValue): their own range \
        \(stack.greyRange.low)…\(stack.greyRange.high) becomes 0…1, which may not be what it knows
        """)
    }
    let core = tile - 2 * predictor.halo
    if predictor.statistics == .exact, !stack.isInOnePiece, core < tile / 4 {
      log.warning(
        """
        of a tile of \(tile) pixels only \(core) are its own, so exact statistics take \(tile * tile / (core * core)) times as long as need \
        be; a larger --tile is faster
        """)
    }
    let progress = PageProgress(pages: stack.pages)
    Interruption.watch()
    let duration = try ContinuousClock().measure {
      try stack.write(result, to: output) { page, share in
        // Thrown, so that the unfinished file goes.
        if let signal = Interruption.signal {
          log.warning("interrupted; no file is written")
          throw ExitCode(128 + signal)
        }
        progress.show(page: page, share: share)
      }
    }
    let seconds = duration / .seconds(1)
    print(
      """
      \(output): \(stack.pages) page\(stack.pages == 1 ? "" : "s") in \(fixed(seconds, 1)) s, \
      \(fixed(Double(stack.pixels) / 1e6 / seconds, 3)) megapixels/s
      Norm \(network.normalization.name), statistics: \(description(of: predictor, stack))
      Grey values \(stack.greyRange.low)…\(stack.greyRange.high) became 0…1
      """)
  }

  private func description(of predictor: TilePredictor, _ stack: StackPrediction) -> String {
    if stack.isInOnePiece {
      return predictor.statistics == nil ? "none of the image; in one piece" : "the page's, in one piece"
    }
    let statistics =
      switch predictor.statistics {
      case nil: "none of the image"
      case .tile: "tile (every tile's own)"
      case .pooled: "pooled (the page's, approximate)"
      case .exact: "exact (the page's)"
      }
    return
      "\(statistics); tiles of \(tile ?? TilePredictor.Options().tile) with \(predictor.halo) around their cores, blend \(predictor.blend.rawValue)"
  }

  private func labelValues(_ loaded: ModelOptions.Loaded, _ classes: Int) throws -> [Int] {
    guard let text = loaded.metadata["class_values"] else { return Array(0..<classes) }
    let values = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
    guard values.count == classes, !values.contains(nil) else {
      throw ToolError(
        "'class_values' in the metadata of '\(loaded.path)' should be \(classes) whole numbers, got '\(text)'")
    }
    return values.compactMap { $0 }
  }
}

extension TileBlend: ExpressibleByArgument {}
extension TileStatistics: ExpressibleByArgument {}

/// Shows on standard error how far a prediction is: a bar on a terminal, a line per page elsewhere.
private final class PageProgress {
  private let pages: Int
  private let line = LineProgress()
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var lastDrawn: ContinuousClock.Instant?
  private var finished = 0
  private var hasEstimate = false

  init(pages: Int) {
    self.pages = pages
    start = clock.now
  }

  func show(page: Int, share: Double) {
    let now = clock.now
    let elapsed = (now - start) / .seconds(1)
    if share >= 1 {
      guard finished == page else { return }
      finished += 1
      line.finish("page \(page + 1)/\(pages)  \(fixed(elapsed, 1)) s")
      return
    }
    if let lastDrawn, now - lastDrawn < .milliseconds(100) { return }
    lastDrawn = now
    let done = (Double(page) + share) / Double(pages)
    // Without a terminal a page can take hours before its line comes.
    if !errorsAreOnTerminal, !hasEstimate, elapsed > 5, done > 0 {
      hasEstimate = true
      log.info("about \(NormaReport.clock(elapsed / done)) in all, by the first tiles")
    }
    line.show(
      "page \(page + 1)/\(pages) \(Progress.bar(share))  ETA \(NormaReport.clock(elapsed / max(done, 1e-9) - elapsed))")
  }
}
