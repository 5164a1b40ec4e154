// swift-tools-version: 6.1
import PackageDescription

// Where libtorch's include/ and lib/ are: `make setup` puts a link named .libtorch beside this file. The link
// is not resolved here, since the package manager keeps the result of this manifest.
let libtorch = "\(Context.packageDirectory)/.libtorch"

/// Linker flags that have libtorch found at run time.
func runpaths(of executable: String) -> [String] {
  ["\(executable)/.libtorch/lib", "\(libtorch)/lib"].flatMap { ["-Xlinker", "-rpath", "-Xlinker", $0] }
}

// Scripts/sanitize has C and C++ checked for undefined behaviour. Not by inheritance (vptr), for which libtorch would have
// to be built alike.
let checks =
  Context.environment["NORMA_CHECK_UNDEFINED"] == nil
  ? [] : ["-fsanitize=undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=all"]

/// For headers of libtorch.
let libtorchHeaders = [
  "-isystem", "\(libtorch)/include", "-isystem", "\(libtorch)/include/torch/csrc/api/include",
  "-isystem", "\(Context.packageDirectory)/.libtorch-abi",
]
/// For NVIDIA's, which pip installs beside a CUDA build of libtorch.
let cudaHeaders = ["cu13", "cuda_runtime", "cuda_cccl", "cuda_nvcc", "cublas", "cusolver", "cusparse", "nccl"]
  .map { "\(libtorch)/../nvidia/\($0)/include" }
  .flatMap { ["-isystem", $0, "-isystem", "\($0)/cccl"] }

let package = Package(
  name: "Norma",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "norma", targets: ["NormaTool"]),
    // Loaded when several processes train on CUDA devices; it alone needs CUDA's libraries.
    .library(name: "NormaNCCL", type: .dynamic, targets: ["CNCCL"]),
    .library(
      name: "Norma",
      targets: [
        "NormaTensor", "NormaNN", "NormaDistributed", "NormaNormalization", "NormaModels", "NormaFormats", "NormaData",
        "NormaMetrics",
        "NormaStatistics", "NormaRecords", "NormaExchange", "NormaPrediction", "NormaTraining", "NormaExperiment",
        "NormaReport",
      ]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
  ],
  targets: [
    // libtorch
    .target(
      name: "CTorch",
      cxxSettings: [
        .define("AT_PER_OPERATOR_HEADERS"),
        // libtorch's header of its Gloo backend includes some of Gloo, which it does not bring.
        .headerSearchPath("Gloo"),
        .unsafeFlags(libtorchHeaders + checks),
      ],
      linkerSettings: [
        .linkedLibrary("torch_cpu"), .linkedLibrary("c10"), .linkedLibrary("m"),
        // A .libtorch beside a copied binary comes first, then the one of this checkout.
        .unsafeFlags(["-L\(libtorch)/lib"]),
        .unsafeFlags(runpaths(of: "$ORIGIN"), .when(platforms: [.linux])),
        .unsafeFlags(runpaths(of: "@executable_path"), .when(platforms: [.macOS])),
      ]),
    .target(name: "CNCCL", cxxSettings: [.unsafeFlags(libtorchHeaders + cudaHeaders)]),
    .target(name: "NormaTensor", dependencies: ["CTorch"]),
    .target(name: "NormaDistributed", dependencies: ["NormaTensor", "CTorch"]),
    .target(name: "NormaNN", dependencies: ["NormaTensor"]),
    // Optimized in debug builds too: without, tests that train would take hours.
    .target(name: "CMomentKernels", cSettings: [.unsafeFlags(["-O3"] + checks)]),
    .target(name: "NormaNormalization", dependencies: ["NormaNN", "NormaDistributed", "CMomentKernels"]),
    .target(name: "NormaModels", dependencies: ["NormaNormalization"]),

    // Without the engine
    .systemLibrary(
      name: "CTIFF", pkgConfig: "libtiff-4", providers: [.apt(["libtiff-dev"]), .brew(["libtiff"])]),
    .systemLibrary(
      name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"]), .brew(["libpng"])]),
    .systemLibrary(
      name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
    .target(name: "NormaFormats", dependencies: ["CTIFF", "CPNG", "CZlib"]),
    .target(name: "NormaConfiguration", dependencies: ["NormaFormats", .product(name: "Yams", package: "Yams")]),
    .target(name: "NormaData", dependencies: ["NormaFormats"]),
    .target(name: "NormaMetrics"),
    .target(name: "NormaStatistics"),
    .target(name: "NormaRecords"),
    .target(name: "NormaReport", dependencies: ["NormaRecords", "NormaStatistics", "NormaFormats"]),

    // Both together
    .target(name: "NormaExchange", dependencies: ["NormaNormalization", "NormaFormats"]),
    .target(name: "NormaPrediction", dependencies: ["NormaNormalization", "NormaData"]),
    .target(
      name: "NormaTraining",
      dependencies: ["NormaNormalization", "NormaData", "NormaMetrics", "NormaRecords", "NormaExchange"]),
    .target(name: "NormaExperiment", dependencies: ["NormaTraining", "NormaModels", "NormaStatistics"]),
    .executableTarget(
      name: "NormaTool",
      dependencies: [
        "NormaExperiment", "NormaPrediction", "NormaReport", "NormaMetrics", "NormaConfiguration",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ]),

    .target(name: "TestSupport", path: "Tests/TestSupport"),
    // Without the engine too
    .executableTarget(
      name: "norma-fuzz",
      dependencies: [
        "NormaFormats", "NormaData", "NormaConfiguration",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], path: "Tests/Fuzz", exclude: ["Guided"]),
    // Hosts for tests of training on several, with what Swift cannot call of Linux
    .target(name: "HostsSupport", path: "Tests/HostsSupport"),
    .executableTarget(
      name: "norma-hosts",
      dependencies: [
        "HostsSupport", "NormaData", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], path: "Tests/Hosts"),
    .testTarget(
      name: "NormaNormalizationTests", dependencies: ["NormaNormalization", "TestSupport"], exclude: ["Golden"]),
    .testTarget(name: "NormaModelsTests", dependencies: ["NormaModels", "TestSupport"]),
    .testTarget(name: "NormaExchangeTests", dependencies: ["NormaExchange", "NormaModels", "TestSupport"]),
    .testTarget(name: "NormaFormatsTests", dependencies: ["NormaFormats"]),
    .testTarget(name: "NormaConfigurationTests", dependencies: ["NormaConfiguration", "TestSupport"]),
    .testTarget(name: "NormaDataTests", dependencies: ["NormaData", "TestSupport"]),
    .testTarget(
      name: "NormaToolTests",
      dependencies: [
        "NormaTool", "norma-fuzz", "norma-hosts", "NormaReport", "NormaFormats", "NormaExchange", "NormaModels",
        "NormaDistributed", "TestSupport",
      ]),
    .testTarget(name: "NormaTensorTests", dependencies: ["NormaTensor", "TestSupport"]),
    .target(name: "WorkerSupport", dependencies: ["NormaDistributed", "TestSupport"], path: "Tests/WorkerSupport"),
    .testTarget(
      name: "NormaDistributedTests",
      dependencies: ["CTorch", "NormaDistributed", "NormaNormalization", "TestSupport", "WorkerSupport"]),
    .testTarget(name: "NormaNNTests", dependencies: ["NormaNN", "TestSupport"]),
    .testTarget(
      name: "NormaPredictionTests",
      dependencies: ["NormaPrediction", "NormaTraining", "NormaModels", "TestSupport"]),
    .testTarget(
      name: "NormaTrainingTests",
      dependencies: [
        "NormaExperiment", "NormaTraining", "NormaModels", "NormaData", "TestSupport", "WorkerSupport",
      ]),
    .testTarget(name: "NormaExperimentTests", dependencies: ["NormaExperiment", "TestSupport"]),
    .testTarget(name: "NormaMetricsTests", dependencies: ["NormaMetrics"]),
    .testTarget(name: "NormaStatisticsTests", dependencies: ["NormaStatistics"]),
    .testTarget(
      name: "NormaReportTests", dependencies: ["NormaReport", "NormaRecords", "NormaFormats", "TestSupport"]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx20
)
